import { describe, expect, it } from 'vitest';
import fc from 'fast-check';
import type { BusRecord } from '@event-bus/core';
import { encodeFrames, openFrame, partitionSeed, placeSeed, sealFrame } from './frame.js';

const bytes = fc.uint8Array({ maxLength: 40 });
const record: fc.Arbitrary<BusRecord> = fc.record({
  key: fc.option(bytes),
  value: fc.option(bytes),
  headers: fc.array(fc.tuple(fc.string({ unit: 'grapheme', maxLength: 10 }), bytes), { maxLength: 6 }),
});

function sealed(records: readonly BusRecord[], seed: number): Buffer[] {
  const frames = encodeFrames(records);
  for (const frame of frames) sealFrame(frame, 1_767_323_045_678, seed);
  return frames;
}

const plain = (bytesOrNull: Uint8Array | null) => (bytesOrNull === null ? null : [...bytesOrNull]);

describe('a frame', () => {
  it('gives back key, value, headers and time', () => {
    fc.assert(
      fc.property(fc.array(record, { minLength: 1, maxLength: 5 }), fc.nat(), (records, seed) => {
        for (const [i, frame] of sealed(records, seed).entries()) {
          const opened = openFrame(frame, seed)!;
          expect(opened.time).toBe(1_767_323_045_678);
          expect(plain(opened.key)).toEqual(plain(records[i]!.key));
          expect(plain(opened.value)).toEqual(plain(records[i]!.value));
          expect(opened.headers.map(([name, value]) => [name, plain(value)])).toEqual(
            records[i]!.headers.map(([name, value]) => [name, plain(value)]),
          );
        }
      }),
    );
  });

  it('is refused with any bit flipped', () => {
    fc.assert(
      fc.property(record, fc.nat(), fc.nat(), (one, seed, at) => {
        const [frame] = sealed([one], seed);
        const bit = at % (frame!.length * 8);
        frame![bit >> 3]! ^= 1 << (bit & 7);
        expect(openFrame(frame!, seed)).toBeUndefined();
      }),
    );
  });

  it('is refused when cut or at another place', () => {
    const seed = placeSeed(partitionSeed('abcdefgh', 1, 2), 7);
    const [frame] = sealed([{ key: null, value: Buffer.from('value'), headers: [] }], seed);
    expect(openFrame(frame!, seed)).toBeDefined();
    for (let length = 0; length < frame!.length; length++)
      expect(openFrame(frame!.subarray(0, length), seed)).toBeUndefined();
    expect(openFrame(frame!, placeSeed(partitionSeed('abcdefgh', 1, 2), 8))).toBeUndefined();
    expect(openFrame(frame!, placeSeed(partitionSeed('abcdefgh', 1, 3), 7))).toBeUndefined();
    expect(openFrame(frame!, placeSeed(partitionSeed('abcdefgi', 1, 2), 7))).toBeUndefined();
  });

  it('tells header names with line feeds apart', () => {
    const one: BusRecord = {
      key: null,
      value: null,
      headers: [
        ['a\nb', Buffer.from('1')],
        ['c', Buffer.from('2')],
      ],
    };
    const other: BusRecord = {
      key: null,
      value: null,
      headers: [
        ['a', Buffer.from('1')],
        ['b\nc', Buffer.from('2')],
      ],
    };
    const names = sealed([one, other], 1).map((frame) => openFrame(frame, 1)!.headers.map(([name]) => name));
    expect(names).toEqual([
      ['a\nb', 'c'],
      ['a', 'b\nc'],
    ]);
  });

  it('shares repeated headers with the record before, but keeps no large record for their sake', () => {
    const frameOf = (text: string, bytes: number) =>
      Buffer.from(sealed([{ key: null, value: Buffer.alloc(bytes), headers: [['x', Buffer.from(text)]] }], 1)[0]!);
    const headerOf = (frame: Buffer) => openFrame(frame, 1)!.headers[0]![1];
    expect(headerOf(frameOf('same', 0))).toBe(headerOf(frameOf('same', 1)));
    const large = headerOf(frameOf('other', 10_000));
    expect(headerOf(frameOf('other', 0))).not.toBe(large);
  });

  it('does not change when the record it was made of does', () => {
    const value = Buffer.from('before');
    const [frame] = sealed([{ key: null, value, headers: [] }], 1);
    value.fill('x');
    expect(Buffer.from(openFrame(frame!, 1)!.value!).toString()).toBe('before');
  });
});
