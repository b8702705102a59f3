/** The names under which Nest keeps the parts of a bus. Strings, so that two copies of this package mean the same. */

/** The name of a bus that was given none. */
export const DEFAULT_BUS = 'default';

/** The bus of libs/core itself, for code that needs more than to send: `connect`, `pause`, `resume`, `status`. */
export const EVENT_BUS = (name: string = DEFAULT_BUS): string => `EVENT_BUS(${name})`;

/** The transport of a bus. Replace this provider in a test and the application as it is runs on another transport. */
export const EVENT_BUS_TRANSPORT = (name: string = DEFAULT_BUS): string => `EVENT_BUS_TRANSPORT(${name})`;

/** The clock of a bus. */
export const EVENT_BUS_CLOCK = (name: string = DEFAULT_BUS): string => `EVENT_BUS_CLOCK(${name})`;

/** The producer of a named bus. The default bus has its producer under the class `EventBusProducer`. */
export const EVENT_BUS_PRODUCER = (name: string): string => `EVENT_BUS_PRODUCER(${name})`;

/** The runner of a named bus. The default bus has its runner under the class `EventBusRunner`. */
export const EVENT_BUS_RUNNER = (name: string): string => `EVENT_BUS_RUNNER(${name})`;

/** What this application knows of a bus beyond its options; not exported at the door. */
export const EVENT_BUS_REGISTRY = (name: string = DEFAULT_BUS): string => `EVENT_BUS_REGISTRY(${name})`;

/** What a test puts below every bus of an application; not exported at the door. */
export const EVENT_BUS_TEST = 'EVENT_BUS_TEST';
