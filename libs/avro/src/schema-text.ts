/**
 * A schema as text, byte for byte as Python's `json.dumps(schema, sort_keys=True)` writes it: keys sorted, a space after `,` and `:`,
 * everything outside printable ASCII escaped. Open edX registers this text, and a registry that compares texts then gives one id to both.
 * Takes what a schema is made of: strings, integers, booleans, null, lists, plain objects.
 */
export function schemaText(schema: unknown): string {
  if (typeof schema === 'string') return quote(schema);
  if (Array.isArray(schema)) return `[${schema.map(schemaText).join(', ')}]`;
  if (typeof schema === 'object' && schema !== null)
    return `{${members(schema as Record<string, unknown>).join(', ')}}`;
  if (schema === null || typeof schema === 'boolean' || Number.isSafeInteger(schema)) return String(schema);
  // Python writes some floats in another way (1e16 is "1e+16" there), and no schema of an event has one.
  throw new TypeError(`A schema holds a ${typeof schema} that has no text of its own.`);
}

function members(object: Record<string, unknown>): string[] {
  const keys = Object.keys(object).filter((key) => object[key] !== undefined);
  return keys.sort().map((key) => `${quote(key)}: ${schemaText(object[key])}`);
}

const quote = (text: string) =>
  JSON.stringify(text).replace(/[^ -~]/g, (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`);
