import { unreadable } from './reasons.js';
import { fullName, MAX_TEXT, PRIMITIVES } from './writer-schema.js';

/**
 * One schema out of a schema and those that it refers to: each name that is defined elsewhere is replaced, at its first use, by its
 * definition. `imports` are texts, in any order. Throws `BUS_DECODE_FAILED` with the reason `unusable-schema`.
 */
export function inlined(text: string, imports: readonly string[]): string {
  if (imports.length === 0) return text;
  if (text.length + imports.join('').length > MAX_TEXT)
    throw unreadable('unusable-schema', { why: 'it and what it refers to are too long' });
  try {
    const open = new Map(
      imports.map((one) => JSON.parse(one) as Named).map((schema) => [fullName(schema, ''), schema]),
    );
    return JSON.stringify(expand(JSON.parse(text), '', open));
  } catch (cause) {
    throw unreadable('unusable-schema', { why: 'what it refers to does not fit together' }, cause);
  }
}

type Named = Readonly<Record<string, unknown>>;

function expand(schema: unknown, namespace: string, open: Map<string, Named>): unknown {
  if (typeof schema === 'string') return expandName(schema, namespace, open);
  if (Array.isArray(schema)) return schema.map((branch) => expand(branch, namespace, open));
  const { type, items, values, fields } = schema as Named;
  if (type === 'array') return { type, items: expand(items, namespace, open) };
  if (type === 'map') return { type, values: expand(values, namespace, open) };
  if (typeof type === 'string' && PRIMITIVES.has(type)) return type;
  const name = fullName(schema as Named, namespace);
  // Defined here, so a definition of the same name elsewhere is not needed.
  open.delete(name);
  if (type !== 'record') return { ...(schema as Named), name, namespace: '' };
  const inner = name.slice(0, Math.max(0, name.lastIndexOf('.')));
  const expanded = (fields as Named[]).map((field) => ({
    name: field['name'],
    type: expand(field['type'], inner, open),
  }));
  return { type, name, namespace: '', fields: expanded };
}

function expandName(name: string, namespace: string, open: Map<string, Named>): unknown {
  if (PRIMITIVES.has(name)) return name;
  const full = name.includes('.') || namespace === '' ? name.replace(/^\./, '') : `${namespace}.${name}`;
  const definition = open.get(full);
  if (definition === undefined) return full.includes('.') ? full : `.${full}`;
  return expand(definition, '', open);
}
