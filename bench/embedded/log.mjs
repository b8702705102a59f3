import { embedded } from '../../libs/embedded/dist/index.js';

export const TOPIC = 'course';
export const PARTITIONS = 8;

export async function openLog(path) {
  const log = embedded({ partitions: PARTITIONS, path });
  await log.open();
  await log.ensureTopic(TOPIC);
  return log;
}

/** A receiver that hands on what comes. */
export function receiver(receive) {
  return { assigned() {}, receive, revoking: async () => {}, lost() {}, trouble() {} };
}
