import { describe, expect, it } from 'vitest';
import { offsetOf, positionText } from './position.js';

describe('a position', () => {
  it('is the epoch and the offset', () => {
    expect(positionText('abcd1234', 17)).toBe('abcd1234.17');
    expect(offsetOf('abcd1234', 'abcd1234.17')).toBe(17);
  });

  it('of another log is refused as data loss', () => {
    expect(() => offsetOf('abcd1234', 'zzzz1234.17')).toThrow(expect.objectContaining({ code: 'BUS_DATA_LOSS' }));
  });

  it.each(['', '17', 'abcd1234.', 'abcd1234.-1', 'abcd1234.01', 'abcd1234.1e3', 'abcd1234.1 ', 'latest'])(
    '%j is none',
    (text) => {
      expect(() => offsetOf('abcd1234', text)).toThrow(expect.objectContaining({ code: 'BUS_CONFIG_INVALID' }));
    },
  );
});
