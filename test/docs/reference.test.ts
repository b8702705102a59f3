import { BUS_ERRORS, signals } from '@event-bus/core';
import { conformanceCases } from '@event-bus/testing';
import { describe, expect, test } from 'vitest';
import { factsOf, membersOf, type Member } from './interfaces.js';
import { page, quoted, section, table } from './pages.js';

test('the page of errors has every code, who acts, whether again, and its meaning', () => {
  const written = table(page('docs/reference/errors.md').text);
  const real = Object.entries(BUS_ERRORS).map(([code, { actor, retryable, meaning }]) => [
    `\`${code}\``,
    actor,
    retryable ? 'yes' : 'no',
    meaning,
  ]);
  expect(written).toEqual(real);
});

describe('the page of options has every option, with the text of its source', () => {
  const CORE = 'libs/core/src';
  const KAFKA = 'libs/kafka/src';
  const NEST = 'libs/nest/src';
  test.each<[section: string, ...(readonly [file: string, name: string])[]]>([
    ['BusOptions', [`${CORE}/bus.ts`, 'BusOptions']],
    ['RouteOptions', [`${CORE}/routes.ts`, 'RouteOptions']],
    ['HandlerOptions', [`${CORE}/delivery.ts`, 'HandlerOptions']],
    ['SendOptions', [`${CORE}/producer.ts`, 'SendOptions']],
    ['ExponentialOptions', [`${CORE}/retry.ts`, 'ExponentialOptions']],
    ['EmbeddedOptions', ['libs/embedded/src/options.ts', 'EmbeddedOptions']],
    ['RetentionRules', ['libs/embedded/src/retention.ts', 'RetentionRules']],
    ['KafkaOptions', [`${KAFKA}/kafka.ts`, 'KafkaOptions'], [`${KAFKA}/kafkajs/settings.ts`, 'KafkaConnectionOptions']],
    ['HttpRegistryOptions', ['libs/avro/src/http-registry.ts', 'HttpRegistryOptions']],
    ['FastPathOptions', [`${KAFKA}/kafkajs/fast-path.ts`, 'FastPathOptions']],
    ['EventBusModuleOptions', [`${NEST}/event-bus-options.ts`, 'EventBusModuleOptions']],
    ['OnEventBusOptions', [`${NEST}/on-event-bus.ts`, 'OnEventBusOptions']],
    ['HarnessOptions', ['libs/testing/src/harness.ts', 'HarnessOptions']],
    ['EventBusTestOptions', [`${NEST}/testing.ts`, 'EventBusTestOptions']],
  ])('%s', (title, ...interfaces) => {
    const written = table(section(page('docs/reference/options.md'), title)).map(([option, text]) => ({
      name: quoted(option!)[0]!,
      comment: text!,
    }));
    const real = interfaces
      .flatMap(([file, name]) => membersOf(file, name))
      .map(({ name, comment }) => ({ name, comment }));
    expect(written).toEqual(real);
  });
});

test('the page of guarantees has the name of every case of the conformance suite', () => {
  const suite = section(page('docs/reference/guarantees.md'), 'The suite');
  let chapter = '';
  const written: string[] = [];
  for (const line of suite.split('\n')) {
    if (line.startsWith('### ')) chapter = line.slice(4);
    if (line.startsWith('- ')) written.push(`${chapter}: ${line.slice(2)}`);
  }
  expect(written).toEqual(conformanceCases);
});

test('the page of signals has every signal and what it carries', () => {
  const written = table(page('docs/reference/signals.md').text).map(([name, , carries]) => [
    quoted(name!)[0],
    quoted(carries!).toSorted(),
  ]);
  const own = ({ name }: Member) => !['bus', 'service', 'instance'].includes(name);
  const real = [...factsOf()].map(([name, members]) => [
    name,
    members
      .filter(own)
      .map((one) => one.name)
      .toSorted(),
  ]);
  expect(written.map(([name]) => name)).toEqual(Object.keys(signals));
  expect(written).toEqual(real);
});
