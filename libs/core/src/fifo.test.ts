import fc from 'fast-check';
import { expect, test } from 'vitest';
import { Fifo } from './fifo.js';

test('a line keeps its order like an array, whatever is pushed, shifted and removed', () => {
  const step = fc.oneof(
    fc.record({ push: fc.nat(3_000) }),
    fc.record({ shift: fc.nat(3_000) }),
    fc.record({ unshift: fc.nat(30) }),
    fc.record({ removeMultiplesOf: fc.integer({ min: 1, max: 7 }) }),
  );
  fc.assert(
    fc.property(fc.array(step, { maxLength: 30 }), (steps) => {
      const fifo = new Fifo<{ readonly n: number }>();
      let model: { readonly n: number }[] = [];
      let n = 0;
      for (const one of steps) {
        if ('push' in one) {
          for (let i = 0; i < one.push; i++) {
            const item = { n: n++ };
            fifo.push(item);
            model.push(item);
          }
        } else if ('shift' in one) {
          const shifted = Array.from({ length: one.shift }, () => fifo.shift());
          expect(shifted.slice(0, model.length)).toEqual(model.slice(0, one.shift));
          expect(shifted.slice(model.length).every((item) => item === undefined)).toBe(true);
          model = model.slice(one.shift);
        } else if ('unshift' in one) {
          const items = Array.from({ length: one.unshift }, () => ({ n: n++ }));
          fifo.unshift(items);
          model = [...items, ...model];
        } else {
          const leaves = (item: { readonly n: number }) => item.n % one.removeMultiplesOf === 0;
          expect(fifo.remove(leaves)).toEqual(model.filter(leaves));
          model = model.filter((item) => !leaves(item));
        }
        expect(fifo.size).toBe(model.length);
        expect(fifo.peek()).toBe(model[0]);
      }
    }),
    { numRuns: 100 },
  );
});
