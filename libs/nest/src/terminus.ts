/** Health of a bus for @nestjs/terminus. It reads what the bus knows: no probe connects, and only `maxLag` and `broker` ask the broker, seldom. */
import { Injectable } from '@nestjs/common';
import { ModuleRef } from '@nestjs/core';
import { HealthIndicatorService, type HealthIndicatorResult } from '@nestjs/terminus';
import type { Bus, BusStatus, Waiting } from '@event-bus/core';
import { EVENT_BUS } from './tokens.js';

export interface EventBusHealthOptions {
  /** The name of the bus. Default `default`. */
  readonly bus?: string;
}

export interface EventBusReadyOptions extends EventBusHealthOptions {
  /** Records that the partitions held here may be behind, together. More is degraded, as is a lag that cannot be known. Default: not looked at. */
  readonly maxLag?: number;
}

/** Provide it in the module with your health controller; `TerminusModule` must be imported there. */
@Injectable()
export class EventBusHealthIndicator {
  readonly #lagOf = kept(10_000, lagOf);
  readonly #topicsOf = kept(5_000, async ({ transport }) => (await transport.topics()).length);

  constructor(
    private readonly health: HealthIndicatorService,
    private readonly moduleRef: ModuleRef,
  ) {}

  /**
   * For liveness probes: down when a consumer stands still or has crashed, which a restart cures. Never down because a broker is away, which it does
   * not.
   */
  live<const Key extends string>(key: Key, { bus }: EventBusHealthOptions = {}): HealthIndicatorResult<Key> {
    const { state, consumers } = this.#bus(bus).status();
    const dead =
      state === 'started'
        ? consumers
            .filter(hasDied)
            .map(
              ({ group, subscription }) =>
                `the consumer of group "${group}" ${subscription?.state === 'stopped' ? 'has ended' : 'stands still'}`,
            )
        : [];
    return dead.length > 0
      ? this.health.check(key).down({ problems: dead })
      : this.health.check(key).up({ groups: consumers.length });
  }

  /**
   * For readiness probes: up while every group holds its partitions (or is a spare member with none), degraded (which still answers HTTP 200) while
   * something waits or records were lost unread, down when not started, stopping or not connected.
   */
  async ready<const Key extends string>(
    key: Key,
    { bus: name, maxLag }: EventBusReadyOptions = {},
  ): Promise<HealthIndicatorResult<Key>> {
    const bus = this.#bus(name);
    const status = bus.status();
    const down = problemsOf(status);
    if (down.length > 0) return this.health.check(key).down({ problems: down });
    const concerns = [...concernsOf(status), ...(maxLag === undefined ? [] : await this.#lagOver(bus, maxLag))];
    if (concerns.length > 0) return degraded(this.health.check(key), concerns);
    return this.health.check(key).up({ groups: status.consumers.length });
  }

  /** For dashboards, not for probes: whether the broker answers within 2 s. An answer is kept for 5 s. */
  async broker<const Key extends string>(
    key: Key,
    { bus: name }: EventBusHealthOptions = {},
  ): Promise<HealthIndicatorResult<Key>> {
    const bus = this.#bus(name);
    const { name: transport } = bus.transport;
    try {
      return this.health.check(key).up({ transport, topics: await this.#topicsOf(bus) });
    } catch (error) {
      return this.health.check(key).down({ transport, problems: [`no answer: ${(error as Error).message}`] });
    }
  }

  #bus(name?: string): Bus {
    return this.moduleRef.get<Bus>(EVENT_BUS(name), { strict: false });
  }

  async #lagOver(bus: Bus, maxLag: number): Promise<string[]> {
    const lag = await this.#lagOf(bus).catch(() => undefined);
    if (lag === undefined) return ['the lag is not known'];
    return lag > maxLag ? [`the lag is ${lag} records, over ${maxLag}`] : [];
  }
}

// Terminus 11 does not know the word; "up" with what is wrong is nearest, as it answers HTTP 200 too.
function degraded<Key extends string>(indicator: Indicator<Key>, problems: readonly string[]) {
  return indicator.degraded?.({ problems }) ?? indicator.up({ problems });
}

type Session<Key extends string> = ReturnType<typeof HealthIndicatorService.prototype.check<Key>>;
type Indicator<Key extends string> = Pick<Session<Key>, 'up'> & Partial<Pick<Session<Key>, 'degraded'>>;

type ConsumerStatus = BusStatus['consumers'][number];

// With work in hand the loop may rightly wait: attempts have timeouts of their own. A transport in trouble is waiting for its broker.
function hasDied({ subscription, inFlight }: ConsumerStatus): boolean {
  if (subscription === undefined) return false;
  const { state, idleMs } = subscription;
  return (
    state === 'stopped' || ((state === 'running' || state === 'rebalancing') && inFlight === 0 && idleMs > STILL_MS)
  );
}

function problemsOf({ state, consumers }: BusStatus): string[] {
  if (state !== 'started')
    return [state === 'new' || state === 'open' ? 'the bus has not started' : `the bus is ${state}`];
  return consumers.flatMap(({ group, subscription, trouble }) => [
    ...(subscription?.state === 'stopped' ? [`the consumer of group "${group}" has ended`] : []),
    ...(subscription?.state === 'trouble' || trouble !== undefined ? [`group "${group}" is not connected`] : []),
  ]);
}

function concernsOf({ consumers }: BusStatus): string[] {
  return consumers.flatMap(({ group, subscription, waiting, lost, pausedHandlers, brokenHandlers }) => [
    ...(subscription === undefined || subscription.state === 'joining' || subscription.state === 'rebalancing'
      ? [`group "${group}" is waiting for its partitions`]
      : []),
    ...waiting.map(({ reason, records }) => waitOf(group, reason, records)),
    // Not down: nothing brings the records back, and a service that takes no requests helps nobody.
    ...(lost.length > 0
      ? [`group "${group}" has lost records unread in ${lost.length} ${lost.length === 1 ? 'range' : 'ranges'}`]
      : []),
    ...brokenHandlers.map((handler) => `handler "${handler}" fails again and again and is only probed`),
    ...pausedHandlers.map((handler) => `handler "${handler}" is switched off`),
  ]);
}

function waitOf(group: string, reason: Waiting['reason'], records: number): string {
  return reason === 'registry'
    ? `group "${group}" waits for the schema registry (records: ${records})`
    : `group "${group}" cannot write dead letters (records that wait, with their keys: ${records})`;
}

/** Records behind, over the partitions held here; `undefined` when one of them does not know. */
async function lagOf(bus: Bus): Promise<number | undefined> {
  let sum = 0;
  for (const { group, topics, subscription } of bus.status().consumers) {
    const held = new Set(subscription?.partitions.map(({ topic, partition }) => `${topic} ${partition}`));
    for (const topic of topics) {
      for (const { partition, lag } of await bus.transport.positions({ topic, group })) {
        if (!held.has(`${topic} ${partition}`)) continue;
        if (lag === undefined) return undefined;
        sum += lag;
      }
    }
  }
  return sum;
}

/** Asks the broker of a bus, and keeps what came of it for a time, however often probes come. */
function kept<T>(forMs: number, ask: (bus: Bus) => Promise<T>): (bus: Bus) => Promise<T> {
  const answers = new Map<Bus, { readonly untilMs: number; readonly answer: Promise<T> }>();
  return (bus) => {
    const known = answers.get(bus);
    if (known !== undefined && known.untilMs > performance.now()) return known.answer;
    const answer = within(ANSWER_MS, ask(bus));
    answers.set(bus, { untilMs: performance.now() + forMs, answer });
    return answer;
  };
}

async function within<T>(ms: number, promise: Promise<T>): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_resolve, reject) => {
    timer = setTimeout(() => reject(new Error(`no answer within ${ms} ms`)), ms);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

const STILL_MS = 60_000;
const ANSWER_MS = 2_000;
