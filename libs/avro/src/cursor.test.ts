import fc from 'fast-check';
import { expect, test } from 'vitest';
import { Cursor, NO_ROOM } from './cursor.js';

test('longs keep their value and sign up to 2^53 - 1, at the edges of every length', () => {
  const edges = Array.from({ length: 53 }, (_, bits) => 2 ** bits).flatMap((n) => [n - 2, n - 1, n, n + 1]);
  for (const n of [...edges, Number.MAX_SAFE_INTEGER].filter(Number.isSafeInteger).flatMap((n) => [n, -n])) {
    const bytes = written((cursor) => cursor.writeLong(n));

    expect(new Cursor().reading(bytes, 0).readLong()).toBe(n + 0);
    expect(bytes).toEqual(written((cursor) => cursor.writeBigLong(BigInt(n))));
  }
});

test('bigints keep all 64 bits', () => {
  fc.assert(
    fc.property(fc.bigInt(-(2n ** 63n), 2n ** 63n - 1n), (n) => {
      const bytes = written((cursor) => cursor.writeBigLong(n));
      const cursor = new Cursor().reading(bytes, 0);

      expect(cursor.readBigLong()).toBe(n);
      expect(cursor.pos).toBe(bytes.length);
      const isSafe = Number.isSafeInteger(Number(n));
      if (isSafe) expect(new Cursor().reading(bytes, 0).readLong()).toBe(Number(n));
      else expect(() => new Cursor().reading(bytes, 0).readLong()).toThrow(reason('long-too-large'));
    }),
  );
});

test('text of any length and script survives, and leaves the cursor behind it', () => {
  fc.assert(
    fc.property(
      fc.string({ unit: 'grapheme', maxLength: 200 }),
      fc.string({ unit: 'binary-ascii', maxLength: 90 }),
      (a, b) => {
        const bytes = written((cursor) => {
          cursor.writeString(a);
          cursor.writeString(b);
        });
        const cursor = new Cursor().reading(bytes, 0);

        expect([cursor.readString(), cursor.readString(), cursor.pos]).toEqual([a, b, bytes.length]);
      },
    ),
  );
});

test('the replacement character itself is text; bytes that are none are refused', () => {
  expect(new Cursor().reading(Buffer.from([6, 0xef, 0xbf, 0xbd]), 0).readString()).toBe('\ufffd');
  expect(() => new Cursor().reading(Buffer.from([4, 0xc3, 0x28]), 0).readString()).toThrow(reason('bad-text'));
  expect(() => written((cursor) => cursor.writeString('\ud800'))).toThrow(/half of a surrogate pair/);
});

test('bytes are a copy, not a view of what was read', () => {
  const source = Buffer.from([4, 1, 2]);

  const bytes = new Cursor().reading(source, 0).readBytes();
  source[1] = 9;

  expect(bytes).toEqual(Buffer.from([1, 2]));
});

test.each([
  ['an integer of eleven bytes', [...Array(10).fill(0x80), 0], 'bad-number'],
  ['an integer of more than 64 bits', [...Array(9).fill(0xff), 2], 'bad-number'],
  ['an integer that does not end', [0x80], 'truncated'],
  ['an integer beyond 2^53', [...Array(9).fill(0xff), 1], 'long-too-large'],
])('%s is refused', (_, bytes, why) => {
  expect(() => new Cursor().reading(Buffer.from(bytes), 0).readLong()).toThrow(reason(why));
});

test('a length beyond the bytes is refused, whatever it is', () => {
  for (const length of [4n, 2n ** 31n, 2n ** 62n]) {
    const bytes = Buffer.concat([written((cursor) => cursor.writeBigLong(length)), Buffer.from('abc')]);
    for (const read of ['readBytes', 'readString', 'skipBytes', 'skipString'] as const) {
      expect(() => new Cursor().reading(bytes, 0)[read]()).toThrow(reason('truncated'));
    }
  }
  expect(() => new Cursor().reading(Buffer.from([1]), 0).readString()).toThrow(reason('bad-number'));
});

test('an int beyond 32 bits and a boolean beyond 1 are refused', () => {
  const large = written((cursor) => cursor.writeLong(2 ** 31));

  expect(() => new Cursor().reading(large, 0).readInt()).toThrow(reason('bad-number'));
  expect(() => new Cursor().reading(Buffer.from([2]), 0).readBoolean()).toThrow(reason('bad-number'));
});

test('floats and doubles survive', () => {
  const bytes = written((cursor) => {
    cursor.writeFloat(0.5);
    cursor.writeDouble(Math.PI);
  });
  const cursor = new Cursor().reading(bytes, 0);

  expect([cursor.readFloat(), cursor.readDouble()]).toEqual([0.5, Math.PI]);
});

test('writing stops where the buffer ends', () => {
  const cursor = () => new Cursor().writing(Buffer.alloc(3), 0);

  expect(() => cursor().writeLong(1)).toThrow(NO_ROOM);
  expect(() => cursor().writeString('abc')).toThrow(NO_ROOM);
  expect(() => cursor().writeText('abcd')).toThrow(NO_ROOM);
  expect(() => cursor().writeBytes(Buffer.alloc(3))).toThrow(NO_ROOM);
  expect(() => cursor().writeDouble(1)).toThrow(NO_ROOM);
});

function written(write: (cursor: Cursor) => void): Buffer {
  const cursor = new Cursor().writing(Buffer.alloc(4096), 0);
  write(cursor);
  return cursor.buf.subarray(0, cursor.pos);
}

const reason = (why: string) => expect.objectContaining({ details: expect.objectContaining({ reason: why }) });
