import { BadRequestException } from '@nestjs/common';

/** Which courses a list is to show. */
export interface ListQuery {
  /** Part of a name or key; empty for all. */
  readonly search: string;
  /** `undefined` for all. */
  readonly limit: number | undefined;
}

/** Reads the query of an address; answers 400 with what is wrong. */
export function readListQuery({ search = '', limit }: Readonly<Record<string, unknown>>): ListQuery {
  const errors: { field: string; message: string }[] = [];
  // PostgreSQL takes no such text, and nothing has it in its name or key.
  if (typeof search !== 'string' || search.includes('\0')) {
    errors.push({ field: 'search', message: 'must be one text, without the character U+0000' });
  }
  if (limit !== undefined && !isCount(limit)) {
    errors.push({ field: 'limit', message: 'must be an integer between 1 and 999999999' });
  }
  if (errors.length > 0) throw new BadRequestException({ errors });
  return { search: String(search), limit: limit === undefined ? undefined : Number(limit) };
}

const isCount = (value: unknown) => typeof value === 'string' && /^[1-9]\d{0,8}$/.test(value);
