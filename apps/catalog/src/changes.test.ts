import { expect, onTestFinished, test, vi } from 'vitest';

const { followChanges } = await import(new URL('../public/changes.js', import.meta.url).href);

/** A browser whose connections are opened and broken by the test. */
function setup() {
  const opened: FakeSource[] = [];
  class FakeSource extends EventTarget {
    static readonly OPEN = 1;
    static readonly CLOSED = 2;
    readyState = 0;
    constructor() {
      super();
      opened.push(this);
    }
    close() {
      this.readyState = FakeSource.CLOSED;
    }
    open() {
      this.readyState = FakeSource.OPEN;
      this.dispatchEvent(new Event('open'));
    }
  }
  vi.stubGlobal('EventSource', FakeSource);
  vi.useFakeTimers();
  onTestFinished(() => {
    vi.unstubAllGlobals();
    vi.useRealTimers();
  });
  return opened;
}

test('a page whose list cannot be loaded starts again once, however many loads failed', async () => {
  const opened = setup();
  const states: string[] = [];
  const fails = async () => {
    throw new Error('503');
  };
  followChanges({ onState: (state: string) => states.push(state), onConnect: fails, onReload: fails, onChanges() {} });

  for (let n = 1; n <= 5; n++) {
    expect(opened).toHaveLength(n);
    opened.at(-1)!.open();
    opened.at(-1)!.dispatchEvent(new Event('reload'));
    await vi.advanceTimersByTimeAsync(1_000);
  }

  expect(states).toEqual(Array(5).fill('reconnecting'));
});
