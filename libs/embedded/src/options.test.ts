import { describe, expect, it } from 'vitest';
import { checkOptions, retentionOf } from './options.js';

describe('checkOptions', () => {
  it('fills in the defaults', () => {
    expect(checkOptions({ path: '/data' })).toMatchObject({
      partitions: 8,
      maxBytes: 10 * 2 ** 30,
      retention: { unread: 'keep' },
    });
  });

  it('reports everything that is wrong at once', () => {
    const wrong = {
      partitions: 0,
      maxBytes: -1,
      keepFreeBytes: 1.5,
      maxRecordBytes: 2 ** 31,
      retention: { ageMs: 0, unread: 'maybe' as 'keep' },
    };
    try {
      checkOptions(wrong);
      expect.unreachable();
    } catch (error) {
      expect(error).toMatchObject({ code: 'BUS_CONFIG_INVALID' });
      const { findings } = (error as { details: { findings: string[] } }).details;
      expect(findings).toHaveLength(7);
      expect(findings).toContain('Option "partitions" must be a positive integer, got 0.');
    }
  });

  it('wants either a path or an ephemeral log', () => {
    expect(() => checkOptions({ path: '/data', ephemeral: true })).toThrow('either');
    expect(() => checkOptions({})).toThrow('either');
  });

  it('takes the rules of a topic over the general ones', () => {
    const settings = checkOptions({
      path: '/data',
      retention: { bytes: 100 },
      topics: { course: { retention: { unread: 'drop' } } },
    });
    expect(retentionOf(settings, 'course')).toMatchObject({ bytes: 100, unread: 'drop', isNamed: true });
    expect(retentionOf(settings, 'other')).toMatchObject({ bytes: 100, unread: 'keep', isNamed: false });
  });
});
