import { inspect } from 'node:util';

/** A text that shows itself only when asked: in JSON, logs, errors and `inspect` it is `[secret]`. */
export class Secret {
  readonly #text: string;

  constructor(text: string) {
    this.#text = text;
  }

  reveal(): string {
    return this.#text;
  }

  toString(): string {
    return HIDDEN;
  }

  toJSON(): string {
    return HIDDEN;
  }

  [inspect.custom](): string {
    return HIDDEN;
  }
}

const HIDDEN = '[secret]';

/** A text that is a secret, plain or wrapped. */
export type SecretText = string | Secret;

/** The text itself. `undefined` for what is neither: options come from people. */
export function revealed(text: SecretText): string | undefined {
  const found: unknown = typeof text === 'string' ? text : (text as Secret | undefined)?.reveal?.();
  return typeof found === 'string' ? found : undefined;
}
