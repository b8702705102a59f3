/** Transports whose log is open in another process. Each call of them, and of the receivers given to them, is a message. */
import type { ChildProcess } from 'node:child_process';
import {
  BusError,
  type BusErrorCode,
  type PublishOutcome,
  type Receiver,
  type StoredRecord,
  type Subscription,
  type SubscriptionStatus,
  type Transport,
} from '@event-bus/core';
import { embedded } from '@event-bus/embedded';

/** Makes such transports. Codecs work here, on the same log: they are no part of what the other process is for. */
export function transportsIn(child: ChildProcess, path: string): () => Transport {
  const waiting = new Map<number, { resolve: (value: never) => void; reject: (error: Error) => void }>();
  const receivers = new Map<number, Target>();
  let ids = 0;

  const call = <T>(target: number, method: string, ...args: unknown[]): Promise<T> =>
    new Promise((resolve, reject) => {
      waiting.set(++ids, { resolve, reject });
      child.send({ id: ids, target, method, args });
    });
  const result = ({ id, value, error }: Message) => {
    const { resolve, reject } = waiting.get(id!)!;
    waiting.delete(id!);
    if (error === undefined) resolve(value as never);
    else reject(revived(error));
  };
  child.on('message', (message: Message) => {
    const { id, target, method, args } = message;
    if (target === undefined) return result(message);
    const answer = receivers.get(target)![method!]!(...args!);
    if (id !== undefined) void Promise.resolve(answer).then(() => child.send({ id, answer: 'done' }));
  });

  return () => {
    const local = embedded({ path });
    const remote = -++ids;
    child.send({ target: remote, method: 'make', args: [{ path }] });
    const on = <T>(method: string, ...args: unknown[]): Promise<T> => call(remote, method, ...args);
    return {
      name: local.name,
      capabilities: local.capabilities,
      codec: local.codec,
      open: async () => void (await Promise.all([on('open'), local.open()])),
      close: async () => void (await Promise.all([on('close'), local.close()])),
      async publish(...args) {
        const outcomes = await on<readonly PublishOutcome[]>('publish', ...args);
        return outcomes.map((outcome) =>
          outcome.status === 'stored' ? outcome : { ...outcome, error: revived(outcome.error as BusError) },
        );
      },
      positions: (options) => on('positions', options),
      seek: (options) => on('seek', options),
      topics: () => on('topics'),
      ensureTopic: (...args) => on('ensureTopic', ...args),
      async *read({ signal, ...range }) {
        const reading = await on<number>('read', { ...range, isAbortable: signal !== undefined });
        const abort = () => void call(reading, 'abort');
        if (signal?.aborted === true) abort();
        signal?.addEventListener('abort', abort);
        try {
          for (;;) {
            const { done, value } = await call<IteratorResult<StoredRecord>>(reading, 'next');
            if (done === true) return;
            yield value;
          }
        } finally {
          signal?.removeEventListener('abort', abort);
          await call(reading, 'end');
        }
      },
      async subscribe(options, receiver) {
        const place = -++ids;
        const { target, subscription } = received(receiver);
        receivers.set(place, target);
        const remoteSubscription = await on<number>('subscribe', options, place);
        return {
          ...subscription,
          commit: (commits) => call(remoteSubscription, 'commit', commits),
          stop: () => call(remoteSubscription, 'stop'),
        };
      },
    };
  };
}

interface Message {
  readonly id?: number;
  readonly target?: number;
  readonly method?: string;
  readonly args?: never[];
  readonly value?: unknown;
  readonly error?: PlainError;
}

interface PlainError {
  readonly code: BusErrorCode;
  readonly message: string;
  readonly details?: Record<string, unknown>;
}

type Target = Record<string, (...args: never[]) => unknown>;

function received(receiver: Receiver): {
  target: Target;
  subscription: Pick<Subscription, 'status' | 'holds'>;
} {
  const revocations = new Map<number, AbortController>();
  const revocation = (id: number) => {
    const known = revocations.get(id) ?? new AbortController();
    revocations.set(id, known);
    return known;
  };
  let status: SubscriptionStatus = { state: 'joining', partitions: [], idleMs: 0 };
  let holds = false;
  const target: Target = {
    assigned: (partitions) => receiver.assigned(partitions),
    receive: (batch) => receiver.receive(batch),
    revoking: (partitions, id) => receiver.revoking(partitions, revocation(id).signal),
    gone: (id) => revocation(id).abort(),
    lost: (range) => receiver.lost(range),
    trouble: (error?: PlainError) => receiver.trouble(error && revived(error)),
    status: (...now: [SubscriptionStatus, boolean]) => void ([status, holds] = now),
  };
  return { target, subscription: { status: () => status, holds: () => holds } };
}

const revived = ({ code, message, details }: PlainError): Error =>
  new BusError(code, message, { details: details ?? {} });
