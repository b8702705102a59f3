import { open } from 'lmdb';

/** LMDB as the log opens it, and nothing else: frames are put as they are, under the log's own kind of key. */
export function openRaw(path) {
  const root = open({ path, overlappingSync: false, noSubdir: false, maxDbs: 16, mapSize: 16 * 2 ** 20 });
  const keyEncoder = {
    writeKey(key, target, at) {
      target.writeUInt32BE(1, at);
      target.writeUInt32BE(key.partition, at + 4);
      target.writeUInt32BE(0, at + 8);
      return target.writeUInt32BE(key.offset, at + 12);
    },
    readKey: (source, at) => source.readUInt32BE(at + 12),
  };
  const encoder = {
    encode: (bytes) => bytes,
    decode(bytes) {
      const { length } = bytes;
      const copy = Buffer.allocUnsafe(length);
      copy.set(new Uint8Array(bytes.buffer, bytes.byteOffset, length));
      return copy;
    },
  };
  const log = root.openDB({ name: 'log', keyEncoder, encoder });
  const next = [];
  return {
    /** One transaction, flushed, with the frames spread over the partitions. Answers the place of the last one. */
    async append(frames, partitions) {
      let place;
      await root.transaction(() => {
        for (let i = 0; i < frames.length; i++) {
          const partition = i % partitions;
          place = { partition, offset: (next[partition] ??= 0) };
          next[partition]++;
          void log.put(place, frames[i]);
        }
      });
      return place;
    },
    get: (place) => log.get(place),
    // Without a start lmdb-js begins anywhere: it cannot know the first key of a kind of our own.
    scan: () => log.getRange({ start: { partition: 0, offset: 0 }, end: { partition: 2 ** 16, offset: 0 } }),
    close: () => root.close(),
  };
}
