/** What kafkajs's errors mean to the bus. */
import { BusError, isBusError, type BusErrorCode } from '@event-bus/core';

/**
 * Translates anything kafkajs rejects with and keeps it as the cause. `what` is the beginning of a sentence: `Sending to topic "a"`.
 * Never throws.
 */
export function busErrorOf(error: unknown, what: string, details: Readonly<Record<string, unknown>> = {}): BusError {
  const chain = causesOf(error);
  const own = chain.find((cause) => isBusError(cause));
  if (own) return own as BusError;
  const code = chain.map(codeOf).find((found) => found !== undefined) ?? 'BUS_TRANSPORT_UNAVAILABLE';
  return new BusError(code, `${what} failed: ${textOf(chain)}${CURES[code] ?? ''}`, {
    details: { ...details, kafka: protocolType(error) },
    cause: error,
  });
}

/** The name of Kafka's own error, `NOT_LEADER_FOR_PARTITION`, wherever it sits in the chain of causes. */
export function protocolType(error: unknown): string | undefined {
  for (const cause of causesOf(error)) if (typeof cause['type'] === 'string') return cause['type'];
  return undefined;
}

/** The broker, or kafkajs before it, will never take this: it is not stored. */
export function isRefusal(error: unknown): boolean {
  const code = causesOf(error)
    .map(codeOf)
    .find((found) => found !== undefined);
  return code !== undefined;
}

/** The member is out of its generation. */
export const isFenced = (error: unknown) => FENCED.has(protocolType(error) ?? '');

/** The broker does not know the topic, or not yet. */
export const isUnknownTopic = (error: unknown) => protocolType(error) === 'UNKNOWN_TOPIC_OR_PARTITION';

const FENCED = new Set(['ILLEGAL_GENERATION', 'UNKNOWN_MEMBER_ID', 'FENCED_INSTANCE_ID']);

type Cause = Readonly<Record<string, unknown>>;

function causesOf(error: unknown): Cause[] {
  const causes: Cause[] = [];
  for (
    let at = error;
    typeof at === 'object' && at !== null && causes.length < MAX_CAUSES;
    at = (at as Cause)['cause'] ?? firstOf(at as Cause)
  ) {
    causes.push(at as Cause);
  }
  return causes;
}

// CreateTopics answers with a list.
const firstOf = (error: Cause) => (Array.isArray(error['errors']) ? (error['errors'] as unknown[])[0] : undefined);

function codeOf(error: Cause): BusErrorCode | undefined {
  const { type, name, code } = error;
  return (
    TYPES.get(String(type)) ??
    NAMES.get(String(name)) ??
    (typeof code === 'string' && UNTRUSTED.test(code) ? 'BUS_TRANSPORT_REFUSED' : undefined)
  );
}

function textOf(chain: readonly Cause[]): string {
  const root = chain[chain.length - 1];
  const { message } = (root ?? {}) as { readonly message?: unknown };
  const text = typeof message === 'string' ? message : 'no reason given';
  return `${text.slice(0, MAX_TEXT)}${/[.!?]$/.test(text) ? '' : '.'}`;
}

const MAX_CAUSES = 8;
const MAX_TEXT = 300;

// https://nodejs.org/api/tls.html#x509-certificate-error-codes, and what OpenSSL says when one side speaks no TLS
const UNTRUSTED = /^(ERR_TLS_|ERR_SSL_|CERT_|UNABLE_TO_|DEPTH_ZERO_|SELF_SIGNED_|HOSTNAME_MISMATCH|EPROTO)/;

const TYPES = new Map<string, BusErrorCode>([
  ...each('BUS_TOPIC_MISSING', 'UNKNOWN_TOPIC_OR_PARTITION', 'INVALID_TOPIC_EXCEPTION'),
  ...each('BUS_RECORD_TOO_LARGE', 'MESSAGE_TOO_LARGE', 'RECORD_LIST_TOO_LARGE'),
  ...each(
    'BUS_TRANSPORT_REFUSED',
    'TOPIC_AUTHORIZATION_FAILED',
    'GROUP_AUTHORIZATION_FAILED',
    'CLUSTER_AUTHORIZATION_FAILED',
    'SASL_AUTHENTICATION_FAILED',
    'UNSUPPORTED_SASL_MECHANISM',
    'SECURITY_DISABLED',
    'POLICY_VIOLATION',
    'INVALID_RECORD',
    'INVALID_TIMESTAMP',
    'INVALID_PARTITIONS',
    'INVALID_REPLICATION_FACTOR',
    'INVALID_CONFIG',
    'INVALID_GROUP_ID',
    'INCONSISTENT_GROUP_PROTOCOL',
    'GROUP_MAX_SIZE_REACHED',
    'INVALID_SESSION_TIMEOUT',
    'OFFSET_METADATA_TOO_LARGE',
  ),
  ...each('BUS_UNSUPPORTED', 'UNSUPPORTED_VERSION', 'UNSUPPORTED_FOR_MESSAGE_FORMAT'),
]);

const NAMES = new Map<string, BusErrorCode>([
  ...each('BUS_TRANSPORT_REFUSED', 'KafkaJSSASLAuthenticationError'),
  ...each(
    'BUS_UNSUPPORTED',
    'KafkaJSNotImplemented',
    'KafkaJSServerDoesNotSupportApiKey',
    'KafkaJSUnsupportedMagicByteInMessageSet',
  ),
]);

const CURES: Partial<Record<BusErrorCode, string>> = {
  BUS_TOPIC_MISSING: ' Create the topic: the bus never does so by itself.',
  BUS_TRANSPORT_REFUSED: ' Check the credentials, the certificate and the rights of this client.',
};

function each(code: BusErrorCode, ...names: string[]): (readonly [string, BusErrorCode])[] {
  return names.map((name) => [name, code] as const);
}
