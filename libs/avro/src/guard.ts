/**
 * Avro types that cannot be turned against their reader. avsc takes types of other classes through its `typeHook`, so ours replace its own
 * for every type we compile, and other users of avsc in the process notice nothing. They read and write through a `Cursor`.
 */
import { BusError } from '@event-bus/core';
import avsc, { type CompileOptions, type Resolver, type Type } from 'avsc/lib/types.js';
import type { Cursor } from './cursor.js';
import { unreadable, unwritable } from './reasons.js';

/**
 * Compiles a schema of our own, as `defineEvent` makes it. `{ type: 'long', bigint: true }` reads as bigint; every long is written from a
 * number or a bigint. A union that cannot be told apart is refused. Costs about a millisecond: once per definition, never per record.
 */
export function compileOwn(schema: unknown): Type {
  return compile(schema, { wrapUnions: 'never' });
}

/** Compiles what `writerSchema` let through. Its values are only skipped or resolved, so any union will do. */
export function compileWriter(schema: unknown): Type {
  return compile(schema, {});
}

/** How to read what `writer` wrote as `reader`. Throws what avsc says when that is not possible. */
export function readerOf(reader: Type, writer: Type): Resolver {
  const isSame = JSON.stringify(reader.schema()) === JSON.stringify(writer.schema());
  return isSame ? reader : reader.createResolver(writer);
}

/** Throws `BUS_CONFIG_INVALID` in a process that may not make functions from text: no Avro type can be built there. */
export function checkCodeGeneration(): void {
  try {
    compileOwn({ type: 'record', name: 'Probe', fields: [] });
  } catch (cause) {
    const message =
      'The Avro codec builds its readers and writers as functions, which this process forbids. ' +
      'Start Node without --disallow-code-generation-from-strings, or use another codec.';
    throw new BusError('BUS_CONFIG_INVALID', message, { cause });
  }
}

export type { Resolver, Type };

const { LongType, ArrayType, MapType, RecordType, UnwrappedUnionType } = avsc.builtins;

function compile(schema: unknown, options: Pick<CompileOptions, 'wrapUnions'>): Type {
  // A registry of its own: two schemas may each have a record of one name. Without a prototype: a record may be named "constructor".
  const registry = Object.create(null) as Record<string, unknown>;
  return avsc.Type.forSchema(schema, { ...options, registry, omitRecordMethods: true, typeHook: guarded });
}

function guarded(schema: unknown, options: CompileOptions): Type | undefined {
  if (schema === 'long') return longOf(options, false);
  if (Array.isArray(schema)) return isNullable(schema) ? new Nullable(schema, options) : undefined;
  if (typeof schema !== 'object' || schema === null) return undefined;
  const { type, bigint } = schema as { type?: unknown; bigint?: unknown };
  if (type === 'long') return longOf(options, bigint === true);
  if (type === 'array') return new GuardedArray(schema, options);
  if (type === 'map') return new GuardedMap(schema, options);
  if (type === 'record') return new PlainRecord(schema, options);
  return undefined;
}

/** One for all longs of a schema: each type that is made costs functions made from text. */
function longOf({ registry }: CompileOptions, isBig: boolean): Type {
  return (registry[isBig ? 'long bigint' : 'long'] ??= isBig ? new BigLong() : new ExactLong()) as Type;
}

const isNullable = (union: readonly unknown[]) => union.length === 2 && union[0] === 'null';

/** avsc's long changes the sign below -2^52 and ends one short of 2^53 - 1. */
class ExactLong extends LongType {
  override _read(cursor: Cursor): unknown {
    return cursor.readLong();
  }

  override _write(cursor: Cursor, value: unknown): void {
    if (Number.isSafeInteger(value)) cursor.writeLong(value as number);
    else if (typeof value === 'bigint' && BigInt.asIntN(64, value) === value) cursor.writeBigLong(value);
    else throw unwritable('bad-number');
  }
}

class BigLong extends ExactLong {
  override _read(cursor: Cursor): unknown {
    return cursor.readBigLong();
  }

  override _update(resolver: { _read: Resolver['_read'] | null }, writer: Type): void {
    if (writer.typeName === 'long' || writer.typeName === 'int') resolver._read = (cursor) => cursor.readBigLong();
  }
}

class GuardedArray extends ArrayType {
  // Also the reader of a resolver: `this` is then the resolver, which has an `itemsType` too.
  override _read(cursor: Cursor): unknown {
    const items = this.itemsType;
    const list: unknown[] = [];
    for (let count = cursor.openBlock(); count !== 0; count = cursor.openBlock()) {
      const end = cursor.blockEnd;
      while (count-- > 0) list.push(items._read(cursor));
      checkEnd(cursor, end);
    }
    return list;
  }

  override _skip(cursor: Cursor): void {
    const items = this.itemsType;
    for (let count = cursor.openBlock(); count !== 0; count = cursor.openBlock()) {
      if (cursor.skipBlock()) continue;
      while (count-- > 0) items._skip(cursor);
    }
  }
}

class GuardedMap extends MapType {
  override _read(cursor: Cursor): unknown {
    const values = this.valuesType;
    const map: Record<string, unknown> = {};
    for (let count = cursor.openBlock(); count !== 0; count = cursor.openBlock()) {
      const end = cursor.blockEnd;
      while (count-- > 0) {
        const key = cursor.readString();
        // Would replace the prototype instead of adding a key, here or wherever the map is copied later.
        if (key === '__proto__') throw unreadable('bad-key');
        map[key] = values._read(cursor);
      }
      checkEnd(cursor, end);
    }
    return map;
  }

  override _skip(cursor: Cursor): void {
    const values = this.valuesType;
    for (let count = cursor.openBlock(); count !== 0; count = cursor.openBlock()) {
      if (cursor.skipBlock()) continue;
      while (count-- > 0) {
        cursor.skipString();
        values._skip(cursor);
      }
    }
  }

  override _write(cursor: Cursor, map: unknown): void {
    if (typeof map === 'object' && map !== null && Object.hasOwn(map, '__proto__')) {
      throw unwritable('bad-key');
    }
    super._write(cursor, map);
  }
}

/** `["null", T]`: what optional fields are. Takes `undefined` for null, and picks the branch without looking at the kind of the value. */
class Nullable extends UnwrappedUnionType {
  override _read(cursor: Cursor): unknown {
    const branch = cursor.readInt();
    if (branch === 0) return null;
    if (branch !== 1) throw unreadable('bad-number');
    return this.types[1]!._read(cursor);
  }

  override _write(cursor: Cursor, value: unknown): void {
    if (value === null || value === undefined) return cursor.writeInt(0);
    cursor.writeInt(1);
    this.types[1]!._write(cursor, value);
  }
}

/** Makes real plain objects; avsc makes instances of a class of its own, which are not deeply equal to literals. */
class PlainRecord extends RecordType {
  override _createConstructor(errorStack: boolean): { prototype: object } {
    const constructor = super._createConstructor(errorStack, true);
    constructor.prototype = Object.prototype;
    return constructor;
  }
}

function checkEnd(cursor: Cursor, end: number): void {
  if (end !== -1 && cursor.pos !== end) throw unreadable('bad-block');
}
