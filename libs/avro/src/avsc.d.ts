/**
 * The part of avsc 5.7.9 that is used here. Only its types are loaded: the rest of the package builds functions from text while it loads,
 * so that under `--disallow-code-generation-from-strings` the process would end before it could be told why.
 */
declare module 'avsc/lib/types.js' {
  import type { Cursor } from './cursor.js';

  interface CompileOptions {
    registry: Record<string, unknown>;
    wrapUnions?: 'auto' | 'never';
    omitRecordMethods: true;
    typeHook(schema: unknown, options: CompileOptions): Type | undefined;
  }

  interface Resolver {
    _read(cursor: Cursor): unknown;
  }

  class Type implements Resolver {
    static forSchema(schema: unknown, options: CompileOptions): Type;
    constructor(schema?: unknown, options?: CompileOptions);
    createResolver(writer: Type): Resolver;
    schema(): unknown;
    _read(cursor: Cursor): unknown;
    _skip(cursor: Cursor): void;
    _write(cursor: Cursor, value: unknown): void;
    _update(resolver: { _read: Resolver['_read'] | null }, writer: Type): void;
    readonly typeName: string;
  }

  class LongType extends Type {}
  class ArrayType extends Type {
    readonly itemsType: Resolver & Pick<Type, '_skip'>;
  }
  class MapType extends Type {
    readonly valuesType: Resolver & Pick<Type, '_skip'>;
  }
  class UnwrappedUnionType extends Type {
    readonly types: readonly Type[];
  }
  class RecordType extends Type {
    _createConstructor(errorStack: boolean, plain: boolean): { prototype: object };
  }

  const types: {
    Type: typeof Type;
    builtins: {
      LongType: typeof LongType;
      ArrayType: typeof ArrayType;
      MapType: typeof MapType;
      UnwrappedUnionType: typeof UnwrappedUnionType;
      RecordType: typeof RecordType;
    };
  };
  export default types;
  export type { Type, Resolver, CompileOptions };
}
