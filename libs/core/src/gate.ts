/**
 * Whether a handler is fed. Three states, per handler, group and process:
 *
 *   open ──switch off──▶ switched-off ──switch on──▶ open
 *   open ──many events in a row fail──▶ broken ──first success──▶ open
 *
 * A lane that may not start is kept here: its records wait, they are never skipped. While the gate is broken one lane at a time is let
 * through as a probe, in turn, with growing pauses: an outage downstream does not become ten thousand dead letters.
 */
import type { Clock } from './clock.js';
import { Fifo } from './fifo.js';
import type { Lane } from './lane.js';
import { backoffMs } from './retry.js';

export interface GateSetup {
  readonly clock: Clock;
  /** Events in a row that fail before the gate is broken. */
  readonly breakerAfter: number;
  /** Puts lanes back in line. */
  readonly release: (lanes: readonly Lane[]) => void;
  readonly changed: (state: 'paused' | 'resumed', reason: 'switched-off' | 'breaker', error?: unknown) => void;
}

export class Gate {
  readonly #held = new Fifo<Lane>();
  #isSwitchedOff = false;
  #failures = 0;
  #probes = 0;
  #probe: Lane | undefined;
  #cancelProbe: (() => void) | undefined;

  constructor(private readonly setup: GateSetup) {}

  get isSwitchedOff(): boolean {
    return this.#isSwitchedOff;
  }

  get isBroken(): boolean {
    return this.#failures >= this.setup.breakerAfter;
  }

  /** Whether the lane may start now. If not, it is kept and released later. */
  admits(lane: Lane): boolean {
    if (!this.#isSwitchedOff && (!this.isBroken || this.#probe === lane)) return true;
    this.hold(lane);
    return false;
  }

  hold(lane: Lane): void {
    if (this.#probe === lane) this.#probe = undefined;
    lane.state = 'held';
    this.#held.push(lane);
    if (this.isBroken) this.#armProbe();
  }

  succeeded(): void {
    const wasBroken = this.isBroken;
    // Before anything is released: a released lane asks at once whether the gate is broken.
    this.#failures = 0;
    if (!wasBroken) return;
    this.#mend();
    this.setup.changed('resumed', 'breaker');
    if (!this.#isSwitchedOff) this.#releaseAll();
  }

  failed(error: unknown): void {
    this.#failures++;
    if (this.#failures === this.setup.breakerAfter) this.setup.changed('paused', 'breaker', error);
  }

  /** An attempt ended in a way that says nothing about the handler's health: the next lane may probe. */
  passed(lane: Lane): void {
    if (this.#probe !== lane) return;
    this.#probe = undefined;
    this.#armProbe();
  }

  switchOff(): void {
    if (this.#isSwitchedOff) return;
    this.#isSwitchedOff = true;
    this.setup.changed('paused', 'switched-off');
  }

  switchOn(): void {
    if (!this.#isSwitchedOff) return;
    this.#isSwitchedOff = false;
    this.setup.changed('resumed', 'switched-off');
    if (this.isBroken) this.#armProbe();
    else this.#releaseAll();
  }

  /** Lets go of lanes whose partition has left. */
  forget(hasLeft: (lane: Lane) => boolean): void {
    this.#held.remove(hasLeft);
    if (this.#probe !== undefined && hasLeft(this.#probe)) {
      this.#probe = undefined;
      this.#armProbe();
    }
  }

  close(): void {
    this.#mend();
  }

  #releaseAll(): void {
    this.setup.release(this.#held.remove(() => true));
  }

  #armProbe(): void {
    if (this.#cancelProbe !== undefined || this.#probe !== undefined || this.#held.size === 0) return;
    this.#cancelProbe = this.setup.clock.timer(backoffMs(++this.#probes, FIRST_PROBE_MS, MAX_PROBE_MS), () => {
      this.#cancelProbe = undefined;
      if (this.#isSwitchedOff || !this.isBroken) return;
      this.#probe = this.#held.shift();
      if (this.#probe !== undefined) this.setup.release([this.#probe]);
    });
  }

  #mend(): void {
    this.#cancelProbe?.();
    this.#cancelProbe = undefined;
    this.#probe = undefined;
    this.#probes = 0;
  }
}

const FIRST_PROBE_MS = 1_000;
const MAX_PROBE_MS = 30_000;
