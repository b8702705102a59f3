/**
 * The one place that writes. What is handed in while a transaction is under way goes into the next one, in order: publishes, commits and
 * leases of one turn share one flush. Each write runs while the log's lock is held, so it must be short and must check before it puts:
 * a transaction cannot be undone in part.
 *
 * Bounds: 5 000 records or 4 MiB a transaction, 64 MiB waiting; one write alone may be larger, and is never split.
 */
import { BusError } from '@event-bus/core';
import { lockHeld } from './lock.js';
import { machineTime } from './machine.js';

export interface WriteOptions {
  /** How long it may wait for the lock and the flush. */
  readonly deadlineMs: number;
  readonly records?: number;
  readonly bytes?: number;
  /** Asked after a failed flush: is it certain that nothing of this write is in the log? */
  readonly isUndone?: () => boolean;
}

export interface WriterSetup {
  /** Runs what it is given in one transaction; resolves once that is flushed. */
  readonly transaction: (run: () => void) => Promise<unknown>;
  /** Called inside each transaction, before the first and after the last write. */
  readonly begin: () => void;
  readonly end: () => void;
  /** Called after a flush in which somebody called `wake`. */
  readonly wake: () => void;
  /** The process that holds the log's lock, as far as is known. */
  readonly lockHolder: () => number | undefined;
  readonly failure: (error: unknown) => WriteFailure;
}

export interface WriteFailure {
  readonly error: BusError;
  /** Nothing can be written any more until the log is opened again. */
  readonly isFinal: boolean;
}

export class Writer {
  #waiting: Write[] = [];
  #waitingBytes = 0;
  #underWay: Write[] = [];
  #isWriting = false;
  #began = 0;
  #hasNews = false;
  #failedInARow = 0;
  #broken: BusError | undefined;
  #watch: NodeJS.Timeout | undefined;
  #whenIdle: (() => void)[] = [];

  constructor(private readonly setup: WriterSetup) {}

  /**
   * Runs a write in a transaction and resolves with its answer once it is flushed. Rejects with what it threw, or with `BUS_BUSY`,
   * `BUS_FULL`, `BUS_TRANSPORT_UNAVAILABLE`, whose `details.outcome` says `not-stored` or `unknown`.
   */
  write<T>(run: () => T, options: WriteOptions): Promise<T> {
    const bytes = options.bytes ?? 0;
    if (this.#broken !== undefined) return Promise.reject(withOutcome(this.#broken, 'not-stored'));
    if (this.#waitingBytes > 0 && this.#waitingBytes + bytes > WAITING_BYTES)
      return Promise.reject(overfull(this.#waitingBytes));
    this.#waitingBytes += bytes;
    return new Promise<T>((resolve, reject) => {
      const deadline = machineTime() + options.deadlineMs;
      this.#waiting.push({
        run,
        resolve: resolve as (answer: unknown) => void,
        reject,
        deadline,
        deadlineMs: options.deadlineMs,
        records: options.records ?? 1,
        bytes,
        isUndone: options.isUndone,
        isSettled: false,
        answer: undefined,
        error: undefined,
      });
      if (!this.#isWriting) void this.#writeAll();
      this.#watch ??= setInterval(() => this.#expire(), EXPIRY_CHECK_MS).unref();
    });
  }

  /** Inside a write: what was written is news for others. */
  wake(): void {
    this.#hasNews = true;
  }

  get isIdle(): boolean {
    return !this.#isWriting && this.#waiting.length === 0;
  }

  /** For how long the write under way has been waiting for its lock and its flush; 0 when there is none. */
  get waitMs(): number {
    return this.#isWriting ? machineTime() - this.#began : 0;
  }

  /** Resolves when nothing waits and nothing is under way. */
  idle(): Promise<void> {
    return this.isIdle ? Promise.resolve() : new Promise((resolve) => this.#whenIdle.push(resolve));
  }

  async #writeAll(): Promise<void> {
    this.#isWriting = true;
    while (this.#waiting.length > 0) {
      this.#began = machineTime();
      try {
        // What arrives until the lock is ours still comes along: it is taken inside.
        await this.setup.transaction(() => this.#transact());
        this.#failedInARow = 0;
        for (const write of this.#underWay) settle(write);
        if (this.#hasNews) this.setup.wake();
      } catch (error) {
        await this.#failed(error);
      }
      this.#hasNews = false;
      this.#underWay = [];
    }
    this.#isWriting = false;
    clearInterval(this.#watch);
    this.#watch = undefined;
    for (const resolve of this.#whenIdle.splice(0)) resolve();
  }

  #transact(): void {
    this.setup.begin();
    this.#underWay = this.#take();
    for (const write of this.#underWay) {
      try {
        write.answer = write.run();
      } catch (error) {
        write.error = error;
      }
    }
    this.setup.end();
  }

  #take(): Write[] {
    let records = 0;
    let bytes = 0;
    let count = 0;
    for (const write of this.#waiting) {
      records += write.records;
      bytes += write.bytes;
      if (count > 0 && (records > TRANSACTION_RECORDS || bytes > TRANSACTION_BYTES)) break;
      count++;
    }
    const taken = this.#waiting.slice(0, count);
    this.#waiting = this.#waiting.slice(count);
    for (const write of taken) this.#waitingBytes -= write.bytes;
    return taken;
  }

  async #failed(error: unknown): Promise<void> {
    // lmdb-js rejects a second promise with the real cause; unhandled it would end the process.
    const { error: failure, isFinal } = this.setup.failure(await causeOf(error));
    for (const write of this.#underWay) {
      write.error ??= withOutcome(failure, isUndone(write) ? 'not-stored' : 'unknown');
      settle(write);
    }
    if (isFinal) this.#broken = failure;
    // Where nothing ran, the lock could not be had: the first in line pays, so that the loop cannot turn for ever without an answer.
    const others = isFinal ? this.#waiting.length : this.#underWay.length === 0 ? 1 : 0;
    for (const write of this.#waiting.splice(0, others)) {
      this.#waitingBytes -= write.bytes;
      write.error = withOutcome(failure, 'not-stored');
      settle(write);
    }
    if (!isFinal) await new Promise((resolve) => setTimeout(resolve, Math.min(1_000, 10 * 2 ** this.#failedInARow++)));
  }

  #expire(): void {
    const now = machineTime();
    const isLate = (write: Write) => write.deadline <= now && !write.isSettled;
    const running = this.#underWay.filter(isLate);
    const waiting = this.#waiting.filter(isLate);
    if (running.length + waiting.length === 0) return;
    if (waiting.length > 0) this.#waiting = this.#waiting.filter((write) => !isLate(write));
    const cause = this.#cause();
    for (const write of running) expire(write, cause, 'unknown');
    for (const write of waiting) {
      this.#waitingBytes -= write.bytes;
      expire(write, cause, 'not-stored');
    }
  }

  #cause(): Cause {
    if (this.#underWay.length > 0) return 'flush';
    const holder = this.setup.lockHolder();
    return holder === process.pid ? undefined : holder;
  }
}

/** Why a write is late: the disk, the process that holds the lock, or nobody knows. */
type Cause = 'flush' | number | undefined;

interface Write {
  readonly run: () => unknown;
  readonly resolve: (answer: unknown) => void;
  readonly reject: (error: unknown) => void;
  readonly deadline: number;
  readonly deadlineMs: number;
  readonly records: number;
  readonly bytes: number;
  readonly isUndone: (() => boolean) | undefined;
  isSettled: boolean;
  answer: unknown;
  error: unknown;
}

function withOutcome({ code, message, details, cause }: BusError, outcome: 'not-stored' | 'unknown'): BusError {
  return new BusError(code, message, { details: { ...details, outcome }, cause });
}

// Who cannot be asked is not known.
function isUndone(write: Write): boolean {
  try {
    return write.isUndone?.() === true;
  } catch {
    return false;
  }
}

function expire(write: Write, cause: Cause, outcome: 'unknown' | 'not-stored'): void {
  write.error = busy(write.deadlineMs, cause, outcome);
  settle(write);
}

function busy(waitedMs: number, cause: Cause, outcome: 'unknown' | 'not-stored'): BusError {
  if (typeof cause === 'number') return lockHeld(cause, waitedMs, { outcome });
  const why =
    cause === 'flush'
      ? 'its disk is slow. Look after the disk'
      : 'this process was too busy to write, or another one holds its lock. Break up what runs for long';
  return new BusError('BUS_BUSY', `The log took no write for ${waitedMs} ms: ${why}.`, { details: { outcome } });
}

function settle(write: Write): void {
  if (write.isSettled) return;
  write.isSettled = true;
  if (write.error === undefined) write.resolve(write.answer);
  else write.reject(write.error);
}

async function causeOf(error: unknown): Promise<unknown> {
  const second = (error as { readonly commitError?: Promise<never> }).commitError;
  if (second === undefined) return error;
  return Promise.race([
    second.then(
      () => error,
      (cause: unknown) => cause,
    ),
    new Promise((resolve) => setTimeout(resolve, 100, error)),
  ]);
}

function overfull(bytes: number): BusError {
  return new BusError(
    'BUS_BUFFER_FULL',
    `${bytes} bytes wait to be written; ${WAITING_BYTES} is the limit. Send slower, or find out what holds the log's lock.`,
    { details: { outcome: 'not-stored' } },
  );
}

const TRANSACTION_RECORDS = 5_000;
const TRANSACTION_BYTES = 4 * 2 ** 20;
const WAITING_BYTES = 64 * 2 ** 20;
const EXPIRY_CHECK_MS = 20;
