/**
 * Reads a history and says what is wrong with it. It knows what the bus promises and nothing of how the bus works: each check follows
 * from the lines alone. An empty answer means that nothing was found, over all that the history holds.
 */
import type { EventValue, HistoryLine, PlaceOf } from './history.js';

export type VerdictName =
  /** Sent and safe, and neither an effect nor a dead letter. */
  | 'lost'
  /** An effect or dead letter of something nobody sent, or that was refused. */
  | 'unexpected'
  /** Other bytes, key or headers than were sent. */
  | 'changed'
  /** One place with two contents. */
  | 'two-faced'
  /** For one handler and key, first ends not in the order of sending; or stored in another order. */
  | 'reordered'
  /** Two deliveries of one key and handler at once, in one time of ownership. */
  | 'overlapped'
  /** A commit passes a record that is neither done nor a dead letter. */
  | 'gap'
  /** A position moves back without a seek. */
  | 'back'
  /** A commit rests on work of somebody else than its owner, or of an earlier time of ownership. */
  | 'stale'
  /** More effects of one event than the test allows. */
  | 'doubled'
  /** A dead letter although attempts were left, or because of an interruption. */
  | 'hasty'
  /** A timeout or a retry before its time. */
  | 'hurried'
  /** A promise never settled: it is said to be pending, or a send has no end and its process no either. */
  | 'hanging'
  /** Not finished when everything was healthy again. */
  | 'stuck'
  /** The fault met no work in flight: the test proved nothing. */
  | 'void';

export interface Verdict {
  readonly verdict: VerdictName;
  readonly text: string;
}

export interface CheckOptions {
  /** Who has to see everything that is stored in a topic. */
  readonly handlers: readonly { readonly group: string; readonly handler: string; readonly topic: string }[];
  /** Offsets as numbers, to compare them within a partition. Default: the number at the end. */
  readonly orderOf?: (offset: string) => number;
  /** Most effects of one event on one handler. Default: no bound. */
  readonly maxEffects?: number;
  /** Attempts of the retry policy. Without it `hasty` is not checked. */
  readonly attempts?: number;
  /** Time of one attempt. Without it early timeouts are not checked. */
  readonly timeoutMs?: number;
  /** Faults that have to meet a delivery or a send in flight. */
  readonly mustMeetWork?: readonly string[];
}

export function checkHistory(lines: readonly HistoryLine[], options: CheckOptions): Verdict[] {
  const settled: Settings = { orderOf: (offset) => Number(/\d+$/.exec(offset)?.[0]), maxEffects: Infinity, ...options };
  const index = indexOf(lines, settled);
  return [
    ...sends(lines, index, settled),
    ...losses(lines, index, settled),
    ...contents(lines, index),
    ...orders(lines, index, settled),
    ...runs(lines, index, settled),
    ...commits(lines, index, settled),
    ...ends(lines, settled),
  ];
}

type Settings = CheckOptions & Required<Pick<CheckOptions, 'orderOf' | 'maxEffects'>>;
type Line<T extends HistoryLine['type']> = HistoryLine & { readonly type: T };

/** What several checks ask for. */
interface Index {
  readonly digests: ReadonlyMap<string, string>;
  readonly valueAt: ReadonlyMap<string, EventValue>;
  /** Per partition, the offsets that were stored, in order. */
  readonly offsets: ReadonlyMap<string, readonly string[]>;
  readonly lost: readonly Line<'lost'>[];
}

function indexOf(lines: readonly HistoryLine[], { orderOf }: Settings): Index {
  const digests = new Map<string, string>();
  const valueAt = new Map<string, EventValue>();
  const offsets = new Map<string, Set<string>>();
  for (const line of lines) {
    if (line.type === 'send') digests.set(nameOf(line.value), line.digest);
    if (line.type !== 'stored' && line.type !== 'sent' && line.type !== 'effect') continue;
    if (line.value !== undefined && !valueAt.has(placeOf(line))) valueAt.set(placeOf(line), line.value);
    const known = offsets.get(partitionOf(line)) ?? new Set();
    offsets.set(partitionOf(line), known.add(line.offset));
  }
  const sorted = [...offsets].map(([key, known]) => [key, [...known].sort((a, b) => orderOf(a) - orderOf(b))] as const);
  return { digests, valueAt, offsets: new Map(sorted), lost: of(lines, 'lost') };
}

function sends(
  lines: readonly HistoryLine[],
  { digests, valueAt }: Index,
  { handlers, maxEffects }: Settings,
): Verdict[] {
  const found: Verdict[] = [];
  const refused = new Set(of(lines, 'refused').map((line) => nameOf(line.value)));
  const effects = new Map<string, number>();
  for (const line of lines) {
    if (line.type !== 'effect' && line.type !== 'dead') continue;
    const value = line.type === 'effect' ? line.value : valueAt.get(placeOf(line));
    if (value === undefined) continue;
    const name = nameOf(value);
    const what = `${line.type} of ${name} by ${line.handler ?? 'the group'} of ${line.group}`;
    if (!digests.has(name)) found.push({ verdict: 'unexpected', text: `${what}: nobody sent it` });
    else if (refused.has(name)) found.push({ verdict: 'unexpected', text: `${what}: its send was refused` });
    if (line.type !== 'effect') continue;
    if (
      !handlers.some(
        ({ group, handler, topic }) => group === line.group && handler === line.handler && topic === line.topic,
      )
    ) {
      found.push({ verdict: 'unexpected', text: `${what}: this handler does not handle ${line.topic}` });
    }
    const count = (effects.get(`${line.group}\n${line.handler}\n${name}`) ?? 0) + 1;
    effects.set(`${line.group}\n${line.handler}\n${name}`, count);
    if (count > maxEffects) found.push({ verdict: 'doubled', text: `${what} for the ${count}. time` });
  }
  return found;
}

/** First every event that is known to be safe, then everything that is known to be in the log. */
function losses(
  lines: readonly HistoryLine[],
  { valueAt, lost, offsets }: Index,
  { handlers, orderOf }: Settings,
): Verdict[] {
  const done = new Set<string>();
  for (const line of lines) {
    const value = 'offset' in line ? valueAt.get(placeOf(line)) : undefined;
    if (value === undefined) continue;
    if (line.type === 'effect') done.add(`${line.group}\n${line.handler}\n${nameOf(value)}`);
    const isSkipped = line.type === 'settled' && line.outcome === 'skipped';
    if (line.type === 'dead' || isSkipped) done.add(`${line.group}\n${line.handler ?? '*'}\n${nameOf(value)}`);
  }
  const isDone = (group: string, handler: string, name: string) =>
    done.has(`${group}\n${handler}\n${name}`) || done.has(`${group}\n*\n${name}`);
  const found = new Map<string, Verdict>();
  for (const line of [...of(lines, 'sent'), ...of(lines, 'stored')]) {
    if (line.value === undefined) continue;
    for (const { group, handler, topic } of handlers) {
      const name = nameOf(line.value);
      if (topic !== line.topic || isDone(group, handler, name) || isInRange(lost, group, line, orderOf)) continue;
      const known = offsets.get(partitionOf(line))!;
      const at = known.indexOf(line.offset);
      const part = at === 0 ? 'head' : at === known.length - 1 ? 'tail' : 'middle';
      const text = `${name} at ${placeOf(line)} (${part}, ${line.type}) never reached ${handler} of ${group}`;
      found.set(`${group}\n${handler}\n${name}`, { verdict: 'lost', text });
    }
  }
  return [...found.values()];
}

function contents(lines: readonly HistoryLine[], { digests, valueAt }: Index): Verdict[] {
  const found: Verdict[] = [];
  for (const line of lines) {
    if ('offset' in line && 'value' in line && line.value !== undefined) {
      const first = valueAt.get(placeOf(line))!;
      if (nameOf(first) !== nameOf(line.value)) {
        found.push({ verdict: 'two-faced', text: `${placeOf(line)} was ${nameOf(first)}, then ${nameOf(line.value)}` });
      }
    }
    if (line.type !== 'effect' && line.type !== 'dead') continue;
    const value = line.type === 'effect' ? line.value : valueAt.get(placeOf(line));
    const sent = value === undefined ? undefined : digests.get(nameOf(value));
    if (sent === undefined || line.digest === undefined || line.digest === sent) continue;
    found.push({
      verdict: 'changed',
      text: `${nameOf(value!)} came to ${line.type} as ${line.digest}, was sent as ${sent}`,
    });
  }
  return found;
}

/** First ends count: a redelivery repeats earlier ones. A dead letter is an end. */
function orders(lines: readonly HistoryLine[], { valueAt, offsets, lost }: Index, { orderOf }: Settings): Verdict[] {
  const found: Verdict[] = [];
  const seen = new Set<string>();
  const last = new Map<string, EventValue>();
  const groups = new Map<string, Set<string>>();
  for (const line of of(lines, 'delivered'))
    groups.set(line.group, (groups.get(line.group) ?? new Set()).add(line.handler));
  const taken = takenByRetention(valueAt, offsets, lost, orderOf);
  const end = (group: string, handler: string, value: EventValue) => {
    const own = `${group}\n${handler}\n${nameOf(value)}`;
    // What retention took is out of the order: neither a late effect of it nor a later copy of the record says anything.
    if (taken.has(`${group}\n${nameOf(value)}`) || seen.has(own)) return;
    seen.add(own);
    const key = `${group}\n${handler}\n${value.producer}/${value.key}`;
    const before = last.get(key);
    if (before !== undefined && before.seq > value.seq) {
      found.push({
        verdict: 'reordered',
        text: `${handler} of ${group} ended ${nameOf(value)} after ${nameOf(before)}`,
      });
    } else last.set(key, value);
  };
  for (const line of lines) {
    if (line.type === 'effect') end(line.group, line.handler, line.value);
    const isEnd = line.type === 'dead' || (line.type === 'settled' && line.outcome === 'skipped');
    const value = isEnd ? valueAt.get(placeOf(line)) : undefined;
    if (!isEnd || value === undefined) continue;
    for (const handler of line.handler === undefined ? (groups.get(line.group) ?? []) : [line.handler])
      end(line.group, handler, value);
  }
  return [...found, ...storedOrder(valueAt, offsets, orderOf)];
}

/** By group, the events of which a copy vanished unread. */
function takenByRetention(
  valueAt: Index['valueAt'],
  offsets: Index['offsets'],
  lost: Index['lost'],
  orderOf: Settings['orderOf'],
): ReadonlySet<string> {
  const taken = new Set<string>();
  for (const { group, topic, partition, from, to } of lost) {
    for (const offset of offsets.get(`${topic}/${partition}`) ?? []) {
      if (orderOf(offset) < orderOf(from) || orderOf(offset) >= orderOf(to)) continue;
      const value = valueAt.get(placeOf({ topic, partition, offset }));
      if (value !== undefined) taken.add(`${group}\n${nameOf(value)}`);
    }
  }
  return taken;
}

function storedOrder(valueAt: Index['valueAt'], offsets: Index['offsets'], orderOf: Settings['orderOf']): Verdict[] {
  const found: Verdict[] = [];
  for (const [partition, known] of offsets) {
    const last = new Map<string, EventValue>();
    const seen = new Set<string>();
    for (const offset of [...known].sort((a, b) => orderOf(a) - orderOf(b))) {
      const value = valueAt.get(`${partition}/${offset}`);
      // A record may be stored again after a lost answer; its first copy counts.
      if (value === undefined || seen.has(nameOf(value))) continue;
      seen.add(nameOf(value));
      const key = `${value.producer}/${value.key}`;
      const before = last.get(key);
      if (before !== undefined && before.seq > value.seq) {
        found.push({
          verdict: 'reordered',
          text: `${nameOf(value)} is stored behind ${nameOf(before)} in ${partition}`,
        });
      }
      last.set(key, value);
    }
  }
  return found;
}

/** Deliveries: one at a time for a key, not before their time, not given up too early, each result that of a run under way. */
function runs(lines: readonly HistoryLine[], { valueAt }: Index, { attempts, timeoutMs }: Settings): Verdict[] {
  const found: Verdict[] = [];
  /** By time of ownership, group, handler and key: what is under way. */
  const running = new Map<string, readonly Line<'delivered'>[]>();
  /** By process, group and partition: the generation it was assigned in, which only its owner may have. */
  const generations = new Map<string, number | undefined>();
  const failures = new Map<string, { count: number; nextAt: number }>();
  for (const line of lines) {
    if (line.type === 'assigned') forget(line);
    if (line.type === 'delivered') delivered(line);
    if (line.type === 'settled' && line.handler !== undefined) settled({ ...line, handler: line.handler });
    if (line.type === 'dead') buried(line);
    if (line.type === 'down') end((run) => run.process === line.process);
  }
  return found;

  /** A new owner starts anew; what the last one had in hand is his affair. */
  function forget({ process, group, topic, partition, generation }: Line<'assigned'>): void {
    generations.set(`${process}\n${group}\n${topic}/${partition}`, generation);
    for (const key of failures.keys()) {
      if (key.startsWith(`${process}\n${group}\n${topic}/${partition}/`)) failures.delete(key);
    }
    end((run) => run.process === process && run.group === group && partitionOf(run) === `${topic}/${partition}`);
  }

  function end(isOver: (run: Line<'delivered'>) => boolean): void {
    for (const [lane, own] of running) {
      running.set(
        lane,
        own.filter((run) => !isOver(run)),
      );
    }
  }

  function delivered(line: Line<'delivered'>): void {
    const own = running.get(laneOf(line)) ?? [];
    for (const other of own) {
      const who = other.process === line.process ? 'it' : other.process;
      const what = `got ${placeOf(line)} while ${who} had ${placeOf(other)} of the same key`;
      found.push({ verdict: 'overlapped', text: `${line.handler} in ${line.process} ${what}` });
    }
    running.set(laneOf(line), [...own, line]);
    const failed = failures.get(runOf(line));
    if (failed === undefined || line.at >= failed.nextAt - CLOCK_GRAIN_MS) return;
    const text = `${placeOf(line)} was tried again at ${line.at}, not before ${failed.nextAt} was promised`;
    found.push({ verdict: 'hurried', text });
  }

  function settled(line: Line<'settled'> & { readonly handler: string }): void {
    const own = running.get(laneOf(line)) ?? [];
    const run = own.find((each) => each.process === line.process && placeOf(each) === placeOf(line));
    running.set(
      laneOf(line),
      own.filter((each) => each !== run),
    );
    if (line.outcome === 'interrupted' || line.outcome === 'skipped') return;
    if (run === undefined) {
      const what = `counted a result of ${line.handler} for ${placeOf(line)} that it had not under way`;
      found.push({ verdict: 'stale', text: `${line.process} ${what}` });
    } else if (isTooEarly(line, run)) {
      found.push({
        verdict: 'hurried',
        text: `${placeOf(line)} timed out after ${line.at - run.at} of ${timeoutMs} ms`,
      });
    }
    count(line);
  }

  /** What the dead letter itself says, whoever wrote it. */
  function buried({ code, attempts: made = Infinity, handler, ...at }: Line<'dead'>): void {
    if (code === undefined || attempts === undefined || !isHasty(code, made, attempts)) return;
    const text = `${placeOf(at)} is a dead letter of ${handler} (${code}) after ${made} of ${attempts} attempts`;
    found.push({ verdict: 'hasty', text });
  }

  function isTooEarly(line: Line<'settled'>, run: Line<'delivered'>): boolean {
    if (timeoutMs === undefined || line.outcome !== 'retrying' || line.code !== 'BUS_HANDLER_TIMEOUT') return false;
    return line.at - run.at < timeoutMs - CLOCK_GRAIN_MS;
  }

  function count(line: Line<'settled'> & { readonly handler: string }): void {
    const failed = failures.get(runOf(line)) ?? { count: 0, nextAt: 0 };
    if (line.outcome === 'retrying') {
      failures.set(runOf(line), { count: failed.count + 1, nextAt: line.at + (line.afterMs ?? 0) });
    }
    if (line.outcome !== 'dead' || attempts === undefined) return;
    if (line.code === undefined || !isHasty(line.code, failed.count + 1, attempts)) return;
    const what = `is a dead letter of ${line.handler} (${line.code}) after ${failed.count + 1} of ${attempts} attempts`;
    found.push({ verdict: 'hasty', text: `${placeOf(line)} ${what}` });
  }

  function laneOf(
    line: PlaceOf & { readonly process: string; readonly group: string; readonly handler: string },
  ): string {
    const value = valueAt.get(placeOf(line));
    const key = value === undefined ? placeOf(line) : `${value.producer}/${value.key}`;
    const generation = generations.get(`${line.process}\n${line.group}\n${partitionOf(line)}`);
    // Without one, all that is known is that a process must not overlap itself.
    const owner = generation === undefined ? line.process : `${partitionOf(line)} in ${generation}`;
    return [owner, line.group, line.handler, key].join('\n');
  }
}

/** Interruption is never a reason; failures and timeouts are one only when no attempt is left. */
function isHasty(code: string, made: number, attempts: number): boolean {
  if (code === 'BUS_INTERRUPTED') return true;
  return (code === 'BUS_HANDLER_FAILED' || code === 'BUS_HANDLER_TIMEOUT') && made < attempts;
}

function commits(lines: readonly HistoryLine[], { offsets, lost }: Index, settings: Settings): Verdict[] {
  const { handlers, orderOf } = settings;
  const found: Verdict[] = [];
  /** What is done for good: by place, the handlers, or `*`. */
  const done = new Map<string, Set<string>>();
  /** Per owner: its place in the history, and what it settled since. */
  const owners = new Map<
    string,
    { start: number; ahead: ReadonlySet<string>; settled: Map<string, Set<string>>; checked: number }
  >();
  const positions = new Map<string, number>();
  const checked = new Map<string, number>();
  const mark = (into: Map<string, Set<string>>, group: string, place: string, handler: string | undefined) => {
    const key = `${group}\n${place}`;
    into.set(key, (into.get(key) ?? new Set()).add(handler ?? '*'));
  };
  const missing = (from: ReadonlyMap<string, ReadonlySet<string>>, group: string, at: PlaceOf) => {
    const own = from.get(`${group}\n${placeOf(at)}`);
    if (own?.has('*') === true) return [];
    return handlers
      .filter((each) => each.group === group && each.topic === at.topic && own?.has(each.handler) !== true)
      .map(({ handler }) => handler);
  };

  for (const line of lines) {
    if (line.type === 'effect' || line.type === 'dead') mark(done, line.group, placeOf(line), line.handler);
    if (line.type === 'settled') settled(line);
    if (line.type === 'sought') positions.delete(`${line.group}\n${partitionOf(line)}`);
    if (line.type === 'assigned' && line.generation !== undefined && line.position !== undefined) {
      const start = orderOf(line.position);
      owners.set(ownerOf(line), { start, ahead: new Set(line.ahead), settled: new Map(), checked: start });
    }
    if (line.type === 'committed') committed(line);
  }
  return found;

  function settled(line: Line<'settled'>): void {
    if (line.outcome === 'retrying' || line.outcome === 'interrupted') return;
    if (line.outcome === 'skipped') mark(done, line.group, placeOf(line), line.handler);
    for (const [owner, { settled: own }] of owners) {
      if (owner.startsWith(`${line.process}\n${line.group}\n${partitionOf(line)}\n`))
        mark(own, line.group, placeOf(line), line.handler);
    }
  }

  function committed(line: Line<'committed'>): void {
    const key = `${line.group}\n${partitionOf(line)}`;
    const position = orderOf(line.position);
    if (position < (positions.get(key) ?? 0)) {
      found.push({
        verdict: 'back',
        text: `${line.process} committed ${line.position} of ${partitionOf(line)} for ${line.group} behind ${positions.get(key)}`,
      });
    }
    positions.set(key, Math.max(position, positions.get(key) ?? 0));
    const passed = (from: number) =>
      (offsets.get(partitionOf(line)) ?? [])
        .filter((offset) => orderOf(offset) >= from && orderOf(offset) < position)
        .concat(line.ahead ?? [])
        .map((offset) => ({ topic: line.topic, partition: line.partition, offset }))
        .filter((at) => !isInRange(lost, line.group, at, orderOf));
    for (const at of passed(checked.get(key) ?? 0)) {
      const open = missing(done, line.group, at);
      if (open.length > 0)
        found.push({
          verdict: 'gap',
          text: `${line.process} committed ${line.position} past ${placeOf(at)}, which ${open.join(' and ')} of ${line.group} did not end`,
        });
    }
    checked.set(key, Math.max(position, checked.get(key) ?? 0));
    stale(line, passed);
  }

  function stale(line: Line<'committed'>, passed: (from: number) => PlaceOf[]): void {
    const owner = owners.get(ownerOf(line));
    if (owner === undefined) return;
    for (const at of passed(owner.checked)) {
      if (owner.ahead.has(at.offset)) continue;
      const open = missing(owner.settled, line.group, at);
      if (open.length > 0)
        found.push({
          verdict: 'stale',
          text: `${line.process} committed ${line.position} past ${placeOf(at)}, which ${open.join(' and ')} of ${line.group} did not settle while it was its owner`,
        });
    }
    owner.checked = Math.max(owner.checked, orderOf(line.position));
  }
}

function ends(lines: readonly HistoryLine[], { mustMeetWork = [] }: Settings): Verdict[] {
  const found: Verdict[] = [];
  const sends = new Map<string, string>();
  const runs = new Set<string>();
  const met = new Set<string>();
  for (const line of lines) {
    if (line.type === 'pending') found.push({ verdict: 'hanging', text: line.what });
    if (line.type === 'undrained') found.push({ verdict: 'stuck', text: line.what });
    if (line.type === 'send') sends.set(nameOf(line.value), line.process);
    if (line.type === 'sent' || line.type === 'refused' || line.type === 'unknown') sends.delete(nameOf(line.value));
    if (line.type === 'delivered') runs.add(runOf(line));
    if (line.type === 'settled' && line.handler !== undefined) runs.delete(runOf({ ...line, handler: line.handler }));
    if (line.type === 'fault-on' && sends.size + runs.size > 0) met.add(line.fault);
    if (line.type === 'down') for (const [name, process] of sends) if (process === line.process) sends.delete(name);
  }
  for (const [name, process] of sends)
    found.push({ verdict: 'hanging', text: `the send of ${name} by ${process} never ended` });
  for (const fault of mustMeetWork) {
    if (!met.has(fault)) found.push({ verdict: 'void', text: `the fault "${fault}" never met work in flight` });
  }
  return found;
}

// Timers fire by the millisecond.
const CLOCK_GRAIN_MS = 1;

const of = <T extends HistoryLine['type']>(lines: readonly HistoryLine[], type: T): Line<T>[] =>
  lines.filter((line): line is Line<T> => line.type === type);
const nameOf = ({ producer, key, seq }: EventValue): string => `${producer}/${key}/${seq}`;
const partitionOf = ({ topic, partition }: { readonly topic: string; readonly partition: number }): string =>
  `${topic}/${partition}`;
const placeOf = (at: PlaceOf): string => `${partitionOf(at)}/${at.offset}`;
const runOf = (
  line: PlaceOf & { readonly process: string; readonly group: string; readonly handler: string },
): string => [line.process, line.group, placeOf(line), line.handler].join('\n');
const ownerOf = (line: Line<'assigned'> | Line<'committed'>): string =>
  [line.process, line.group, partitionOf(line), line.generation].join('\n');

function isInRange(
  lost: readonly Line<'lost'>[],
  group: string,
  at: PlaceOf,
  orderOf: (offset: string) => number,
): boolean {
  const order = orderOf(at.offset);
  return lost.some(
    (range) =>
      range.group === group &&
      partitionOf(range) === partitionOf(at) &&
      orderOf(range.from) <= order &&
      order < orderOf(range.to),
  );
}
