/** What the public interfaces of the libraries say, read from their sources: for tests that compare the reference pages with them. */
import { join } from 'node:path';
import ts from 'typescript';
import { ROOT } from '../imports/sources.js';

export interface Member {
  readonly name: string;
  readonly isOptional: boolean;
  /** The contract comment, on one line. */
  readonly comment: string;
}

const program = ts.createProgram({
  rootNames: [
    ...['core', 'embedded', 'kafka', 'avro', 'nest', 'testing'].map((lib) => join(ROOT, 'libs', lib, 'src/index.ts')),
    join(ROOT, 'libs/nest/src/testing.ts'),
  ],
  options: {
    target: ts.ScriptTarget.ES2023,
    module: ts.ModuleKind.NodeNext,
    moduleResolution: ts.ModuleResolutionKind.NodeNext,
    customConditions: ['source'],
    experimentalDecorators: true,
    skipLibCheck: true,
    strict: true,
    noEmit: true,
    types: ['node'],
  },
});
const checker = program.getTypeChecker();

/** The members of an exported interface, without those it inherits, in the order in which they are declared. */
export function membersOf(file: string, name: string): readonly Member[] {
  const [declaration] = exported(file, name).declarations!.filter(ts.isInterfaceDeclaration);
  return declaration!.members.map((one) => member(checker.getSymbolAtLocation(one.name!)!));
}

/** The members of the fact that each signal carries, by the signal's name in `signals`. */
export function factsOf(): ReadonlyMap<string, readonly Member[]> {
  const signals = exported('libs/core/src/signals.ts', 'signals');
  const type = checker.getTypeOfSymbol(signals);
  return new Map(
    checker.getPropertiesOfType(type).map((signal) => {
      const [fact] = checker.getTypeArguments(checker.getTypeOfSymbol(signal) as ts.TypeReference);
      return [signal.name, checker.getPropertiesOfType(fact!).map(member)];
    }),
  );
}

function exported(file: string, name: string): ts.Symbol {
  const source = program.getSourceFile(join(ROOT, file));
  const found =
    source && checker.getExportsOfModule(checker.getSymbolAtLocation(source)!).find((one) => one.name === name);
  if (found === undefined) throw new Error(`${file} exports no ${name}.`);
  return found.flags & ts.SymbolFlags.Alias ? checker.getAliasedSymbol(found) : found;
}

function member(symbol: ts.Symbol): Member {
  return {
    name: symbol.name,
    isOptional: (symbol.flags & ts.SymbolFlags.Optional) !== 0,
    comment: ts.displayPartsToString(symbol.getDocumentationComment(checker)).replaceAll(/\s+/g, ' '),
  };
}
