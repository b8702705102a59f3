/** Edits of courses, who sends them and who handles them; everything that happens becomes a history, which is checked at the end. */
import { fork, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { randomUUID } from 'node:crypto';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { createBus, isBusError, signals, type Bus, type EventDefinition } from '@event-bus/core';
import { kafka } from '@event-bus/kafka';
import { COURSE_CATALOG_INFO_CHANGED } from '@event-bus/openedx';
import { checkHistory, readHistories, type CheckOptions, type EventValue, type HistoryLine } from '@event-bus/testing';
import { eventually } from './port.js';

const fixture = new URL('./fixtures/member.mjs', import.meta.url);
const { courseOf, digestOf, now, startMember, valueOf } = (await import(fixture.href)) as Fixture;

interface Fixture {
  now(): number;
  courseOf(value: EventValue): any;
  valueOf(data: any): EventValue;
  digestOf(data: any): string;
  startMember(
    libraries: {
      createBus: typeof createBus;
      signals: typeof import('@event-bus/core').signals;
      kafka: typeof kafka;
      definition: EventDefinition;
    },
    settings: MemberSettings,
    write: (line: HistoryLine) => void,
  ): Promise<Member>;
}

interface MemberSettings {
  readonly name: string;
  readonly group: string;
  readonly topic: string;
  readonly brokers: readonly string[];
  readonly registry: string;
  readonly handleMs?: number;
  /** Of a process: where it writes its history. */
  readonly file?: string;
}

export interface Member {
  readonly bus: Bus;
  /** Leaves gracefully. */
  close(): Promise<void>;
}

export interface MemberProcess {
  readonly name: string;
  readonly child: ChildProcess;
  /** Lines that it wrote so far. */
  lines(): HistoryLine[];
  close(): Promise<void>;
}

export interface CoursesOptions {
  readonly brokers: readonly string[];
  readonly registry: string;
  readonly partitions?: number;
}

export class Courses {
  readonly topic = `courses-${randomUUID().slice(0, 8)}`;
  readonly #options: CoursesOptions;
  readonly #lines: HistoryLine[] = [];
  readonly #files: string[] = [];
  readonly #folder = mkdtempSync(join(tmpdir(), 'event-bus-courses-'));
  readonly #open = new Set<{ close(): Promise<void> }>();
  readonly #sender: Bus;
  #names = 0;

  constructor(options: CoursesOptions) {
    this.#options = options;
    this.#sender = this.#bus('sender');
  }

  /** The topic, and a sender that is ready. */
  async open(): Promise<void> {
    await this.#sender.transport.open();
    await this.#sender.transport.ensureTopic(this.topic, { partitions: this.#options.partitions ?? 6 });
    await this.#sender.open();
  }

  /** A member of the group `catalog` in this process. */
  async join(handleMs = 0): Promise<Member> {
    const name = `member-${++this.#names}`;
    const libraries = { createBus, signals, kafka, definition: COURSE_CATALOG_INFO_CHANGED };
    const member = await startMember(libraries, this.#settings(name, handleMs), (line) => this.#lines.push(line));
    this.#open.add(member);
    return member;
  }

  /** One in a process of its own, on the built libraries. */
  async joinProcess(handleMs = 0): Promise<MemberProcess> {
    const name = `process-${++this.#names}`;
    const file = join(this.#folder, `${name}.jsonl`);
    const settings = { ...this.#settings(name, handleMs), file };
    const child = fork(fileURLToPath(fixture), [JSON.stringify(settings)], { execArgv: [] });
    writeFileSync(file, '');
    this.#files.push(file);
    const close = async () => {
      if (child.exitCode !== null || child.signalCode !== null) return;
      const exited = once(child, 'exit');
      child.kill('SIGCONT');
      child.send('close');
      await exited;
    };
    const member = { name, child, lines: () => readHistories([file]), close };
    this.#open.add(member);
    await Promise.race([once(child, 'message'), once(child, 'exit')]);
    return member;
  }

  /**
   * Sends edits of 200 courses by four producers until `count` were tried, or `until` is aborted. At most `inFlight` wait at once; a
   * `pauseMs` after each round makes it last.
   */
  async edit(count: number, { inFlight = 400, pauseMs = 0, until = new AbortController().signal } = {}): Promise<void> {
    const open = new Set<Promise<void>>();
    for (let n = 0; n < count && !until.aborted; n++) {
      const value = { producer: `p${n % 4}`, key: `k${Math.floor(n / 4) % 50}`, seq: Math.floor(n / 200) };
      const sent = this.#send(value).finally(() => open.delete(sent));
      open.add(sent);
      if (open.size >= inFlight) await Promise.race(open);
      if (pauseMs > 0 && n % 20 === 19) await new Promise((resolve) => setTimeout(resolve, pauseMs));
    }
    await Promise.all(open);
  }

  async #send(value: EventValue): Promise<void> {
    const data = courseOf(value);
    const note = (line: object) => this.#note({ value, ...line });
    note({ type: 'send', digest: digestOf(data) });
    try {
      const { records } = await this.#sender.send(COURSE_CATALOG_INFO_CHANGED, data);
      note({ type: 'sent', ...records[0] });
    } catch (error) {
      const isRefused = isBusError(error) && error.details['outcome'] === 'not-stored';
      note({ type: isRefused ? 'refused' : 'unknown', why: String(error) });
    }
  }

  note(fault: string, type: 'fault-on' | 'fault-off'): void {
    this.#note({ type, fault });
  }

  #note(line: object): void {
    this.#lines.push({ ...line, at: now(), process: 'test' } as HistoryLine);
  }

  lines(): HistoryLine[] {
    return [...this.#lines, ...readHistories(this.#files)].sort((a, b) => a.at - b.at);
  }

  count(type: HistoryLine['type']): number {
    return this.#lines.reduce((sum, line) => sum + (line.type === type ? 1 : 0), 0);
  }

  /** Waits until the group has finished everything, takes all members away, reads the log, and says what is wrong, line by line. */
  async verdicts(options: Partial<CheckOptions> = {}): Promise<string> {
    await eventually(async () => {
      const positions = await this.#sender.transport.positions({ topic: this.topic, group: GROUP });
      return positions.every(({ lag }) => lag === 0);
    }, DRAIN_MS).catch(() => this.#note({ type: 'undrained', what: GROUP }));
    await Promise.all([...this.#open].map((member) => member.close()));
    await this.#readLog();
    const handlers = [{ group: GROUP, handler: 'view', topic: this.topic }];
    const found = checkHistory(this.lines(), { handlers, ...options }).map(
      ({ verdict, text }) => `${verdict}: ${text}`,
    );
    const waitMs = this.longestWaitMs();
    if (waitMs > MAX_WAIT_MS) found.push(`stood still: an event that was stored waited ${waitMs} ms for its handler`);
    return found.join('\n');
  }

  /** From when an event was stored to its first effect. */
  longestWaitMs(): number {
    const sent = new Map<string, number>();
    let longest = 0;
    for (const line of this.lines()) {
      if (line.type !== 'sent' && line.type !== 'effect') continue;
      const event = Object.values(line.value).join(' ');
      if (line.type === 'sent') {
        sent.set(event, line.at);
      } else {
        longest = Math.max(longest, line.at - (sent.get(event) ?? line.at));
        sent.delete(event);
      }
    }
    return Math.round(longest);
  }

  /** Effects beyond one for each event. */
  doubled(): number {
    const effects = this.lines().filter((line) => line.type === 'effect');
    return effects.length - new Set(effects.map(({ digest }) => digest)).size;
  }

  async close(): Promise<void> {
    await Promise.all([...this.#open].map((member) => member.close()));
    await this.#sender.close();
    rmSync(this.#folder, { recursive: true, force: true });
  }

  async #readLog(): Promise<void> {
    const { transport } = this.#sender;
    for await (const record of transport.read({ topic: this.topic })) {
      const { topic, partition, offset } = record;
      const data = await transport.codec.decode(COURSE_CATALOG_INFO_CHANGED, record);
      this.#note({ type: 'stored', topic, partition, offset, value: valueOf(data) });
    }
  }

  #settings(name: string, handleMs: number): MemberSettings {
    const { brokers, registry } = this.#options;
    return { name, group: GROUP, topic: this.topic, brokers, registry, handleMs };
  }

  #bus(name: string): Bus {
    const { brokers, registry } = this.#options;
    return createBus({
      service: 'studio',
      name: `${name}-${this.topic}`,
      transport: kafka({ brokers, registry: { url: registry }, onNotice: () => {} }),
      events: [COURSE_CATALOG_INFO_CHANGED],
      routes: { [COURSE_CATALOG_INFO_CHANGED.type]: { [this.topic]: { keyField: 'catalog_info.course_key' } } },
      // An outage is waited for.
      sendDeadlineMs: 120_000,
    });
  }
}

const GROUP = 'catalog';
const DRAIN_MS = 120_000;
// A session, a rebalance, and the pauses before a new life.
const MAX_WAIT_MS = 60_000;
