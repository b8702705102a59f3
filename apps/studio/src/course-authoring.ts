import { Injectable, Logger, type OnApplicationBootstrap, type OnApplicationShutdown } from '@nestjs/common';
import { EventBusProducer } from '@event-bus/nest';
import { COURSE_CATALOG_INFO_CHANGED } from '@event-bus/openedx';
import { setTimeout as sleep } from 'node:timers/promises';
import { CourseStore, type CourseVersion } from './course-store.js';
import { catalogInfo, type Course, type CourseDraft } from './course.js';
import { turnsPerKey } from './turns.js';

/** A course was stored, and the bus does not have it yet. */
export class NotAnnounced extends Error {
  override readonly name = 'NotAnnounced';

  constructor(
    readonly course: Course,
    cause: unknown,
  ) {
    super('The course is stored, but its change is not announced yet; Studio will try again by itself.', { cause });
  }
}

/**
 * Stores what authors write, then announces it. The two are not one transaction: a process that dies in between leaves a
 * row whose `announced_at` is behind its `updated_at`. Such rows are announced when Studio starts and after a failed
 * send, as they are then. What is not promised: states of a course that were overwritten meanwhile, and that an event
 * is sent only once.
 */
@Injectable()
export class CourseAuthoring implements OnApplicationBootstrap, OnApplicationShutdown {
  readonly #log = new Logger(CourseAuthoring.name);
  readonly #inTurn = turnsPerKey();
  readonly #stopped = new AbortController();
  /** At most one entry for each course; written in batches, since a lost mark costs no more than a second announcement. */
  readonly #announced = new Map<string, CourseVersion>();
  #isMarkDue = false;
  #marking = Promise.resolve();
  #isBehind = false;
  #repairing: Promise<void> | undefined;

  constructor(
    private readonly store: CourseStore,
    private readonly producer: EventBusProducer,
  ) {}

  /**
   * Resolves when the course is stored and its event is safe on the bus; rejects with `NotAnnounced` when only the
   * first was done. Changes of one course are announced in the order in which they were stored.
   */
  async save(draft: CourseDraft): Promise<{ course: Course; isNew: boolean }> {
    const { course, isNew, sent } = await this.#inTurn(draft.course_key, async () => {
      const stored = await this.store.put(draft);
      return { ...stored, sent: this.#announce(stored.course) };
    });
    try {
      await sent;
    } catch (error) {
      this.#repair();
      throw new NotAnnounced(course, error);
    }
    return { course: { ...course, announced_at: course.updated_at }, isNew };
  }

  onApplicationBootstrap(): void {
    this.#repair();
  }

  async onApplicationShutdown(): Promise<void> {
    this.#stopped.abort();
    await this.#repairing;
    await this.#mark().catch((error: unknown) => {
      const courses = this.#announced.size;
      const reason = String(error);
      this.#log.warn('announced courses could not be marked, they will be announced once more', { courses, reason });
    });
  }

  /** What is sent has its place among the sends of its course once this has returned, before it has resolved. */
  async #announce(course: Course, options: { signal?: AbortSignal } = {}): Promise<void> {
    const { course_key, updated_at: time } = course;
    await this.producer.send(COURSE_CATALOG_INFO_CHANGED, { catalog_info: catalogInfo(course) }, { time, ...options });
    this.#announced.set(course_key, { course_key, updated_at: time });
    if (this.#isMarkDue) return;
    this.#isMarkDue = true;
    void this.#pause(MARK_AFTER_MS)
      .then(() => {
        this.#isMarkDue = false;
        return this.#mark();
      })
      .catch(() => this.#repair());
  }

  /** Resolves when every mark that was due at the call is written; those that could not be are kept. */
  #mark(): Promise<void> {
    const marking = this.#marking.then(() => this.#writeMarks());
    this.#marking = marking.catch(() => {});
    return marking;
  }

  async #writeMarks(): Promise<void> {
    while (this.#announced.size > 0) {
      const batch = [...this.#announced.values()].slice(0, BATCH);
      await this.store.markAnnounced(batch);
      for (const mark of batch) {
        if (this.#announced.get(mark.course_key) === mark) this.#announced.delete(mark.course_key);
      }
    }
  }

  #repair(): void {
    this.#isBehind = true;
    this.#repairing ??= this.#catchUp();
  }

  /** Announces what is behind, again after a pause when something was left, until nothing is or Studio stops. */
  async #catchUp(): Promise<void> {
    for (let pauseMs = FIRST_PAUSE_MS; this.#isBehind && !this.#stopped.signal.aborted;) {
      this.#isBehind = false;
      try {
        const courses = await this.#announceWhatIsBehind();
        if (courses > 0) this.#log.log('announced courses that the bus did not have', { courses });
        pauseMs = FIRST_PAUSE_MS;
      } catch (error) {
        this.#isBehind = true;
        this.#log.warn('courses could not be announced, or not be marked', {
          reason: String(error),
          nextTryMs: pauseMs,
        });
        await this.#pause(pauseMs);
        pauseMs = Math.min(2 * pauseMs, LONGEST_PAUSE_MS);
      }
    }
    this.#repairing = undefined;
  }

  /** Goes once through the courses that are behind, and rejects when one of them was left. */
  async #announceWhatIsBehind(): Promise<number> {
    await this.#mark();
    const failures: unknown[] = [];
    let courses = 0;
    let batch: readonly CourseVersion[] = [];
    do {
      // Each batch begins behind the last one, whatever became of that: the way has an end.
      batch = await this.store.unannounced(BATCH, batch.at(-1));
      const failed = await this.#announceBatch(batch);
      // One course that fails holds up no other. Where none goes through it is the bus, and the rest can wait.
      if (failed.length > 0 && failed.length === batch.length) throw failed[0];
      failures.push(...failed);
      courses += batch.length - failed.length;
    } while (batch.length === BATCH && !this.#stopped.signal.aborted);
    if (failures.length > 0) throw failures[0];
    return courses;
  }

  /** Answers why courses of the batch could not be announced. */
  async #announceBatch(batch: readonly CourseVersion[]): Promise<unknown[]> {
    const results = await Promise.allSettled(batch.map(({ course_key }) => this.#announceAgain(course_key)));
    return results.flatMap((result) => (result.status === 'rejected' ? [result.reason] : []));
  }

  async #announceAgain(key: string): Promise<void> {
    const { sent } = await this.#inTurn(key, async () => {
      const course = await this.store.find(key);
      if (!course) throw new Error('The database has no row under a key that it named itself.');
      return { sent: this.#announce(course, { signal: this.#stopped.signal }) };
    });
    await sent;
  }

  async #pause(ms: number): Promise<void> {
    await sleep(ms, undefined, { signal: this.#stopped.signal, ref: false }).catch(() => {});
  }
}

const MARK_AFTER_MS = 250;
const BATCH = 100;
const FIRST_PAUSE_MS = 1_000;
const LONGEST_PAUSE_MS = 30_000;
