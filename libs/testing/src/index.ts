export {
  conformance,
  conformanceCases,
  type ConformanceFaults,
  type ConformanceOptions,
  type TestFunction,
} from './conformance.js';
export {
  harness,
  type Harness,
  type HarnessOptions,
  type Outcome,
  type VirtualEnvironment,
  type WatchedBus,
} from './harness.js';
export { checkHistory, type CheckOptions, type Verdict, type VerdictName } from './history-check.js';
export {
  fileHistory,
  readHistories,
  type EventValue,
  type History,
  type HistoryFact,
  type HistoryLine,
} from './history.js';
export { jsonCodec } from './json-codec.js';
export { seededRandom } from './seeded-random.js';
export {
  simulated,
  simulatedBroker,
  type BrokerFact,
  type GroupFact,
  type SimulatedBroker,
  type SimulatedFaults,
  type SimulatedOptions,
  type SimulatedTransport,
} from './simulated.js';
export { tcpProxy, type Direction, type TcpProxy, type TcpProxyOptions } from './tcp-proxy.js';
export { virtualClock, type VirtualClock, type VirtualClockOptions, type VirtualProcess } from './virtual-clock.js';
