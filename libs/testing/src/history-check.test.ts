import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { checkHistory, type CheckOptions } from './history-check.js';
import { fileHistory, readHistories, type EventValue, type HistoryFact, type HistoryLine } from './history.js';

const value = (seq: number, key = 'a'): EventValue => ({ producer: 'studio', key, seq });
const at = (offset: number) => ({ topic: 'courses', partition: 0, offset: String(offset) });
const by = { group: 'catalog', handler: 'view' };
const handlers = [{ ...by, topic: 'courses' }];

/** Each event is sent, stored and handled. */
function handled(...seqs: number[]): HistoryFact[] {
  return seqs.flatMap((seq) => [...sent(seq), ...delivery(seq)]);
}
const sent = (seq: number, key = 'a'): HistoryFact[] => [
  { type: 'send', value: value(seq, key), digest: `d${seq}` },
  { type: 'stored', value: value(seq, key), ...at(seq) },
  { type: 'sent', value: value(seq, key), ...at(seq) },
];
const delivery = (seq: number, key = 'a'): HistoryFact[] => [
  { type: 'delivered', ...by, ...at(seq), attempt: 1 },
  { type: 'effect', ...by, ...at(seq), value: value(seq, key), digest: `d${seq}` },
  { type: 'settled', ...by, ...at(seq), outcome: 'handled' },
];
const assigned = (generation: number, position: number, ahead: string[] = []): HistoryFact => ({
  type: 'assigned',
  ...at(0),
  group: 'catalog',
  generation,
  position: String(position),
  ahead,
});
const committed = (position: number, generation = 1, ahead: string[] = []): HistoryFact => ({
  type: 'committed',
  ...at(0),
  group: 'catalog',
  generation,
  position: String(position),
  ahead,
});

/** Of the process p1, where it says of none. */
type Fact = HistoryFact & { readonly process?: string };

function verdicts(
  facts: readonly Fact[],
  options: Partial<CheckOptions> = {},
  times: readonly number[] = [],
): string[] {
  const lines = facts.map((fact, index): HistoryLine => ({ process: 'p1', ...fact, at: times[index] ?? index }));
  return [...new Set(checkHistory(lines, { handlers, ...options }).map(({ verdict }) => verdict))];
}

test('a history in which everything went well has no verdict', () => {
  expect(
    verdicts([assigned(1, 0), ...handled(0, 1, 2), committed(3)], { attempts: 3, timeoutMs: 1_000, maxEffects: 1 }),
  ).toEqual([]);
});

const dead = (seq: number, code = 'BUS_HANDLER_FAILED'): HistoryFact[] => [
  { type: 'delivered', ...by, ...at(seq), attempt: 1 },
  { type: 'dead', ...by, ...at(seq), digest: `d${seq}` },
  { type: 'settled', ...by, ...at(seq), outcome: 'dead', code },
];

test.each<[string, Fact[], Partial<CheckOptions>?, number[]?]>([
  ['lost', [...handled(0), ...sent(1)]],
  [
    'lost',
    [
      ...handled(0),
      { type: 'send', value: value(1), digest: 'd' },
      { type: 'stored', value: value(1), ...at(1) },
      { type: 'unknown', value: value(1) },
    ],
  ],
  ['unexpected', [{ type: 'effect', ...by, ...at(0), value: value(0), digest: 'd0' }]],
  [
    'unexpected',
    [{ type: 'send', value: value(0), digest: 'd0' }, { type: 'refused', value: value(0) }, ...delivery(0)],
  ],
  ['unexpected', [...handled(0), { type: 'effect', ...by, handler: 'other', ...at(0), value: value(0), digest: 'd0' }]],
  ['changed', [...sent(0), { type: 'effect', ...by, ...at(0), value: value(0), digest: 'other' }]],
  ['changed', [...sent(0), { type: 'dead', ...by, ...at(0), digest: 'other' }]],
  ['reordered', [...sent(0), ...sent(1), ...delivery(1), ...delivery(0)]],
  ['overlapped', [...sent(0), ...sent(1), ...delivery(0).slice(0, 2), ...delivery(1), ...delivery(0).slice(2)]],
  [
    'overlapped',
    [
      assigned(1, 0),
      { ...assigned(1, 0), process: 'p2' },
      ...sent(0),
      ...sent(1),
      ...delivery(0).slice(0, 2),
      ...delivery(1).map((fact) => ({ ...fact, process: 'p2' })),
      ...delivery(0).slice(2),
    ],
  ],
  ['gap', [...handled(0), ...sent(1), committed(2), ...delivery(1)]],
  ['gap', [...sent(0), ...sent(1), ...sent(2), ...delivery(0), committed(1, 1, ['2']), ...delivery(1), ...delivery(2)]],
  ['back', [assigned(1, 0), ...handled(0, 1), committed(2), committed(1)]],
  ['stale', [assigned(1, 0), ...handled(0), assigned(2, 0), committed(1, 2)]],
  ['stale', [...sent(0), delivery(0)[0]!, assigned(2, 0), ...delivery(0).slice(1)]],
  ['doubled', [...handled(0), ...delivery(0)], { maxEffects: 1 }],
  ['hasty', [...sent(0), ...dead(0)], { attempts: 3 }],
  ['hasty', [...sent(0), ...dead(0, 'BUS_INTERRUPTED')], { attempts: 1 }],
  ['hasty', [...sent(0), { type: 'dead', ...by, ...at(0), code: 'BUS_HANDLER_TIMEOUT', attempts: 2 }], { attempts: 3 }],
  [
    'hurried',
    [
      ...sent(0),
      delivery(0)[0]!,
      { type: 'settled', ...by, ...at(0), outcome: 'retrying', code: 'BUS_HANDLER_TIMEOUT' },
      ...delivery(0),
    ],
    { timeoutMs: 1_000 },
  ],
  [
    'hurried',
    [
      ...sent(0),
      delivery(0)[0]!,
      { type: 'settled', ...by, ...at(0), outcome: 'retrying', afterMs: 100 },
      ...delivery(0),
    ],
  ],
  ['hanging', [{ type: 'pending', what: 'send of studio/a/0' }]],
  ['hanging', [{ type: 'send', value: value(0), digest: 'd' }]],
  [
    'hanging',
    [
      { type: 'send', value: value(0), digest: 'd' },
      { type: 'down', process: 'p2' },
    ],
  ],
  ['stuck', [{ type: 'undrained', what: 'group catalog' }]],
  ['void', [...handled(0), { type: 'fault-on', fault: 'kill' }], { mustMeetWork: ['kill'] }],
])('%s is found', (verdict, facts, options, times) => {
  expect(verdicts(facts, options, times)).toEqual([verdict]);
});

test('two contents of one place are two-faced', () => {
  const found = verdicts([
    ...handled(0),
    { type: 'stored', value: value(5), ...at(0) },
    { type: 'send', value: value(5), digest: 'd5' },
  ]);
  expect(found).toContain('two-faced');
});

test.each<[string, Fact[], Partial<CheckOptions>?, number[]?]>([
  ['a dead letter is an end', [...sent(0), ...dead(0), ...handled(1), committed(2)], { attempts: 1 }],
  [
    'a send without an answer may be stored or not',
    [
      { type: 'send', value: value(0), digest: 'd' },
      { type: 'unknown', value: value(0) },
    ],
  ],
  [
    'a process that was killed had no answer to its send',
    [{ type: 'send', value: value(0), digest: 'd' }, { type: 'down' }],
  ],
  [
    'the next owner may begin while the last one does not know yet',
    [
      assigned(1, 0),
      ...sent(0),
      ...delivery(0).slice(0, 2),
      { ...assigned(2, 0), process: 'p2' },
      ...delivery(0).map((fact) => ({ ...fact, process: 'p2' })),
      ...delivery(0).slice(2),
    ],
  ],
  [
    'what retention took was said to be lost',
    [...sent(0), ...handled(1), { type: 'lost', group: 'catalog', ...at(0), from: '0', to: '1' }],
  ],
  [
    'a later copy of what retention took says nothing about order',
    [
      ...sent(0),
      ...handled(1),
      { type: 'stored', value: value(0), ...at(2) },
      { type: 'lost', group: 'catalog', ...at(0), from: '0', to: '1' },
      { type: 'delivered', ...by, ...at(2), attempt: 1 },
      { type: 'effect', ...by, ...at(2), value: value(0), digest: 'd0' },
      { type: 'settled', ...by, ...at(2), outcome: 'handled' },
    ],
  ],
  ['redelivery repeats', [...handled(0, 1), ...delivery(0), ...delivery(1)]],
  [
    'a second copy after a lost answer is no new order',
    [...handled(0, 1), { type: 'stored', value: value(0), ...at(2) }],
  ],
  [
    'a skipped record is an end',
    [...sent(0), { type: 'settled', group: 'catalog', ...at(0), outcome: 'skipped' }, committed(1)],
  ],
  [
    'finished ahead by an earlier owner counts',
    [
      assigned(1, 0),
      ...sent(0),
      ...sent(1, 'b'),
      ...delivery(1, 'b'),
      assigned(2, 0, ['1']),
      ...delivery(0),
      committed(2, 2),
    ],
  ],
  [
    'a retry in its time',
    [
      ...sent(0),
      delivery(0)[0]!,
      { type: 'settled', ...by, ...at(0), outcome: 'retrying', afterMs: 100 },
      ...delivery(0),
    ],
    {},
    [0, 1, 2, 3, 4, 104, 105, 106],
  ],
  [
    'a fault that met work',
    [...sent(0), delivery(0)[0]!, { type: 'fault-on', fault: 'kill' }, ...delivery(0).slice(1)],
    { mustMeetWork: ['kill'] },
  ],
])('%s', (_, facts, options, times) => {
  expect(verdicts(facts, options, times)).toEqual([]);
});

test('histories of several processes are read in the order of time, without a line that was cut off', () => {
  const folder = mkdtempSync(join(tmpdir(), 'history-'));
  onTestFinished(() => rmSync(folder, { recursive: true }));
  const [one, other] = [join(folder, 'one.jsonl'), join(folder, 'other.jsonl')];
  const write = (path: string, process: string, times: readonly number[]) => {
    const history = fileHistory(path);
    for (const time of times) history.write({ type: 'up', at: time, process });
    history.close();
  };
  write(one, 'p1', [1, 5]);
  write(other, 'p2', [3]);
  writeFileSync(other, '{"type":"down","at":4,"pro', { flag: 'a' });

  expect(readHistories([one, other]).map(({ at: time, process }) => [time, process])).toEqual([
    [1, 'p1'],
    [3, 'p2'],
    [5, 'p1'],
  ]);

  // Killed in a write, and started again.
  write(other, 'p2', [6]);
  expect(readHistories([other]).map(({ at: time }) => time)).toEqual([3, 6]);
});
