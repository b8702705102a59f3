/**
 * Histories: what every process of a test did, as JSON lines in the order in which it did it. They are written by what is tested and
 * read by the checker (`history-check.ts`), which knows nothing else. A line is written with one call and `O_APPEND`, so a process that
 * is killed loses at most its last one.
 */
import { closeSync, existsSync, openSync, readFileSync, truncateSync, writeSync } from 'node:fs';

/** What was sent: each producer owns its keys, and numbers what it sends of each. */
export interface EventValue {
  readonly producer: string;
  readonly key: string;
  readonly seq: number;
}

export interface PlaceOf {
  readonly topic: string;
  readonly partition: number;
  readonly offset: string;
}

export type HistoryFact =
  /** Before the send, and how it ended. A timeout is unknown, never refused. `digest` stands for bytes, key and headers. */
  | { readonly type: 'send'; readonly value: EventValue; readonly digest: string }
  | ({ readonly type: 'sent'; readonly value: EventValue } & PlaceOf)
  | { readonly type: 'refused' | 'unknown'; readonly value: EventValue }
  /** What the log has; without a value for what is no event of the test. */
  | ({ readonly type: 'stored'; readonly value?: EventValue } & PlaceOf)
  /** A handler starts, does its work, and the bus says what came of it. */
  | ({
      readonly type: 'delivered';
      readonly group: string;
      readonly handler: string;
      readonly attempt: number;
    } & PlaceOf)
  | ({
      readonly type: 'effect';
      readonly group: string;
      readonly handler: string;
      readonly value: EventValue;
      readonly digest: string;
    } & PlaceOf)
  | ({
      readonly type: 'settled';
      readonly group: string;
      /** None: it is settled for all handlers of the group. */
      readonly handler?: string;
      readonly outcome: 'handled' | 'retrying' | 'dead' | 'skipped' | 'interrupted';
      readonly code?: string;
      readonly afterMs?: number;
    } & PlaceOf)
  /** A dead letter is in the log; the place is that of the original. */
  | ({
      readonly type: 'dead';
      readonly group: string;
      readonly handler?: string;
      readonly digest?: string;
      readonly code?: string;
      readonly attempts?: number;
    } & PlaceOf)
  /** `generation` rises with every owner of a partition; without one what needs it is not checked. */
  | {
      readonly type: 'assigned';
      readonly group: string;
      readonly topic: string;
      readonly partition: number;
      readonly generation?: number;
      readonly position?: string;
      readonly ahead?: readonly string[];
    }
  | {
      readonly type: 'revoking' | 'revoked';
      readonly group: string;
      readonly topic: string;
      readonly partition: number;
      readonly generation?: number;
    }
  | {
      readonly type: 'committed';
      readonly group: string;
      readonly topic: string;
      readonly partition: number;
      readonly position: string;
      readonly ahead?: readonly string[];
      readonly generation?: number;
    }
  | { readonly type: 'sought'; readonly group: string; readonly topic: string; readonly partition: number }
  | {
      readonly type: 'lost';
      readonly group: string;
      readonly topic: string;
      readonly partition: number;
      readonly from: string;
      readonly to: string;
    }
  | { readonly type: 'fault-on' | 'fault-off'; readonly fault: string }
  | { readonly type: 'up' | 'down' }
  /** A promise that had not settled at the end; a group that had not finished at the end. */
  | { readonly type: 'pending' | 'undrained'; readonly what: string };

export type HistoryLine = HistoryFact & {
  /** Milliseconds, on a clock that all processes of the test share. */
  readonly at: number;
  readonly process: string;
};

export interface History {
  write(line: HistoryLine): void;
  close(): void;
}

/** Appends to a file, which one process at a time writes. A line that was cut off when the last one was killed is taken out. */
export function fileHistory(path: string): History {
  if (existsSync(path)) truncateSync(path, readFileSync(path).lastIndexOf('\n') + 1);
  const file = openSync(path, 'a');
  return {
    write: (line) => void writeSync(file, `${JSON.stringify(line)}\n`),
    close: () => closeSync(file),
  };
}

/** Reads the files of all processes, in the order of time. A last line that was cut off is left out. */
export function readHistories(paths: readonly string[]): HistoryLine[] {
  const lines = paths.flatMap((path) => {
    const texts = readFileSync(path, 'utf8').split('\n');
    texts.pop();
    return texts.map((text) => JSON.parse(text) as HistoryLine);
  });
  return lines.sort((a, b) => a.at - b.at);
}
