/** Shared with the sister libraries, not promised to anyone else. */
export { abortable } from './abortable.js';
export { delay } from './clock.js';
export { uuidMaker } from './envelope.js';
export { invalidEvent } from './event.js';
export { Fifo } from './fifo.js';
export { partitionOf, placeOf } from './partition.js';
export { recordBytes } from './record-size.js';
export { countOf, mergeRanges, rangesOf, rangesOfOffsets, runsOf, type Range } from './runs.js';
