import { describe, expect, test } from 'vitest';
import ts from 'typescript';
import { parse, workspaces } from './sources.js';

/** One word per idea (docs/glossary.md): these have another word here, and are no part of a name that we declare. */
const NOT_USED = /payload|message|queue|channel|dlq|worker|listener|utils|helper|manager/i;
const NOT_USED_FORMS = /^(I[A-Z][a-z]|do[A-Z])|Impl$/;

const isWrong = (name: string) => (NOT_USED.test(name) || NOT_USED_FORMS.test(name)) && !ALLOWED.has(name);

/** Words of others, where we speak with them: the text of an error, and Nest's @Payload. */
const ALLOWED = new Set(['message', 'messageIn', 'MESSAGE_LIMIT', 'payload', 'PAYLOAD', 'enqueue']);

/** Where kafkajs is driven, its own words are the right ones. */
const OTHER_LANGUAGE = 'libs/kafka/src/kafkajs/';

describe('words that are not used', () => {
  test.each(workspaces)('$folder declares no name with them', ({ files }) => {
    const found = files
      .filter(({ path, isTest }) => !isTest && !path.startsWith(OTHER_LANGUAGE))
      .flatMap((file) =>
        declaredNames(parse(file))
          .filter(isWrong)
          .map((name) => `${file.path}: ${name}`),
      );
    expect(found).toEqual([]);
  });
});

function declaredNames(source: ts.SourceFile): string[] {
  const names: string[] = [];
  const visit = (node: ts.Node): void => {
    if (
      isDeclaration(node) &&
      node.name !== undefined &&
      (ts.isIdentifier(node.name) || ts.isPrivateIdentifier(node.name))
    )
      names.push(node.name.text);
    ts.forEachChild(node, visit);
  };
  visit(source);
  return names;
}

function isDeclaration(node: ts.Node): node is ts.NamedDeclaration {
  return (
    ts.isVariableDeclaration(node) ||
    ts.isFunctionDeclaration(node) ||
    ts.isClassDeclaration(node) ||
    ts.isInterfaceDeclaration(node) ||
    ts.isTypeAliasDeclaration(node) ||
    ts.isMethodDeclaration(node) ||
    ts.isPropertyDeclaration(node) ||
    ts.isPropertySignature(node) ||
    ts.isMethodSignature(node) ||
    ts.isParameter(node) ||
    ts.isBindingElement(node)
  );
}
