import { BusError } from '@event-bus/core';
import type { TopicRetention } from './databases.js';
import type { RetentionRules } from './retention.js';

export interface EmbeddedOptions {
  /** The directory of the log; made, for this user only, when it is missing. Never from input. Required unless `ephemeral`. */
  readonly path?: string;
  /** A log of its own in a temporary directory that is not flushed and is deleted when closed. */
  readonly ephemeral?: boolean;
  /** Partitions of topics that are made from now on; stays as it was for those that exist. More allow more consumers to share. Default 8. */
  readonly partitions?: number;
  /** What is forgotten of topics that are made from now on; stays as it was for those that exist. Default: after 7 days, once every group has read it. */
  readonly retention?: Partial<RetentionRules>;
  /** Differences for single topics, by full name. A retention given here holds for a topic that exists as well. */
  readonly topics?: Readonly<
    Record<string, { readonly partitions?: number; readonly retention?: Partial<RetentionRules> }>
  >;
  /** Records of all topics together; beyond, `publish` answers `BUS_FULL`. The file may be twice as large. Default 10 GiB. */
  readonly maxBytes?: number;
  /** When less than this would be left on the disk, `publish` answers `BUS_FULL`, while commits and deletions go on. Default 64 MiB. */
  readonly keepFreeBytes?: number;
  /** The largest record, key, value and headers together. Default 4 MiB, at most 1 GiB. */
  readonly maxRecordBytes?: number;
  /** How often retention is looked after, in milliseconds. Default 30 000. */
  readonly sweepIntervalMs?: number;
}

export interface Settings {
  readonly path: string | undefined;
  readonly isEphemeral: boolean;
  readonly partitions: number;
  readonly retention: RetentionRules;
  readonly topics: NonNullable<EmbeddedOptions['topics']>;
  readonly maxBytes: number;
  readonly keepFreeBytes: number;
  readonly maxRecordBytes: number;
  readonly sweepIntervalMs: number;
}

/** Options with their defaults. Throws one `BUS_CONFIG_INVALID` with everything that is wrong. */
export function checkOptions(options: EmbeddedOptions): Settings {
  const { ephemeral = false, path } = options;
  const settings: Settings = {
    path,
    isEphemeral: ephemeral,
    partitions: options.partitions ?? 8,
    retention: { ...KEEP_A_WEEK, ...options.retention },
    topics: options.topics ?? {},
    maxBytes: options.maxBytes ?? 10 * 2 ** 30,
    keepFreeBytes: options.keepFreeBytes ?? 64 * 2 ** 20,
    maxRecordBytes: options.maxRecordBytes ?? 4 * 2 ** 20,
    sweepIntervalMs: options.sweepIntervalMs ?? 30_000,
  };
  const findings: string[] = [];
  if (ephemeral === (path !== undefined)) findings.push('Give either a "path" or "ephemeral: true".');
  if (path !== undefined && (typeof path !== 'string' || path === ''))
    findings.push(`Option "path" must be a directory, got ${JSON.stringify(path)}.`);
  for (const name of ['partitions', 'maxBytes', 'maxRecordBytes', 'sweepIntervalMs'] as const)
    positive(findings, name, settings[name]);
  if (settings.maxRecordBytes > RECORD_BYTES_AT_MOST)
    findings.push(`Option "maxRecordBytes" must be at most ${RECORD_BYTES_AT_MOST}, got ${settings.maxRecordBytes}.`);
  if (!Number.isInteger(settings.keepFreeBytes) || settings.keepFreeBytes < 0)
    findings.push(`Option "keepFreeBytes" must be an integer from 0, got ${settings.keepFreeBytes}.`);
  rules(findings, 'retention', settings.retention);
  for (const [topic, { partitions, retention }] of Object.entries(settings.topics)) {
    if (partitions !== undefined) positive(findings, `topics.${topic}.partitions`, partitions);
    rules(findings, `topics.${topic}.retention`, { ...settings.retention, ...retention });
  }
  if (findings.length > 0)
    throw new BusError('BUS_CONFIG_INVALID', `The options of the embedded log are wrong. ${findings.join(' ')}`, {
      details: { findings },
    });
  return settings;
}

/** What a topic is made with, or told when the options name it. */
export function retentionOf(settings: Settings, topic: string): TopicRetention {
  const named = settings.topics[topic]?.retention;
  const { ageMs, bytes, unread } = { ...settings.retention, ...named };
  return { ageMs: finite(ageMs), bytes: finite(bytes), unread, isNamed: named !== undefined };
}

const finite = (value: number): number | null => (Number.isFinite(value) ? value : null);

function positive(findings: string[], name: string, value: number): void {
  if (!Number.isInteger(value) || value < 1)
    findings.push(`Option "${name}" must be a positive integer, got ${value}.`);
}

function rules(findings: string[], name: string, { ageMs, bytes, unread }: RetentionRules): void {
  if (!(ageMs > 0))
    findings.push(`Option "${name}.ageMs" must be a positive number of milliseconds or Infinity, got ${ageMs}.`);
  if (!(bytes > 0))
    findings.push(`Option "${name}.bytes" must be a positive number of bytes or Infinity, got ${bytes}.`);
  if (unread !== 'keep' && unread !== 'drop')
    findings.push(`Option "${name}.unread" must be "keep" or "drop", got ${JSON.stringify(unread)}.`);
}

const RECORD_BYTES_AT_MOST = 2 ** 30;
const KEEP_A_WEEK: RetentionRules = { ageMs: 7 * 24 * 3_600_000, bytes: Infinity, unread: 'keep' };
