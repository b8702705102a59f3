import type { Type } from './guard.js';

/**
 * Whether a schema that a registry holds can carry every event of ours: each of our fields is there with the same type, and what is there
 * besides has a default. Answers the path of the first thing that is in the way, or `undefined`.
 */
export function obstacle(ours: Type, theirs: Type, path = ''): string | undefined {
  const [our, their] = [inner(ours), inner(theirs)];
  const isNarrower = our !== ours && their === theirs;
  if (isNarrower || our.typeName !== their.typeName) return path || 'the outermost type';
  if (our.itemsType) return obstacle(our.itemsType, their.itemsType!, `${path}[]`);
  if (our.valuesType) return obstacle(our.valuesType, their.valuesType!, `${path}{}`);
  if (!our.fields) return undefined;
  if (our.name !== their.name) return path || 'the name of the record';
  return fieldObstacle(our, their, path);
}

/** The parts of avsc's types that are looked at here. */
interface Shape extends Type {
  readonly name?: string;
  readonly fields?: readonly { readonly name: string; readonly type: Type; defaultValue(): unknown }[];
  readonly itemsType?: Type;
  readonly valuesType?: Type;
  readonly types?: readonly Type[];
}

function fieldObstacle(our: Shape, their: Shape, path: string): string | undefined {
  const known = new Map(their.fields!.map((field) => [field.name, field]));
  for (const { name, type } of our.fields!) {
    const field = known.get(name);
    const found = field === undefined ? `${path}.${name}` : obstacle(type, field.type, `${path}.${name}`);
    if (found !== undefined) return found;
    known.delete(name);
  }
  const missing = [...known.values()].find((field) => field.defaultValue() === undefined);
  return missing && `${path}.${missing.name}`;
}

/** What `["null", T]` may hold besides null. */
function inner(type: Type): Shape {
  const shape: Shape = type;
  return shape.types?.length === 2 && shape.types[0]!.typeName === 'null' ? shape.types[1]! : shape;
}
