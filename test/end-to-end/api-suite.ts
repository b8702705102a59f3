import { once } from 'node:events';
import { get, type IncomingMessage } from 'node:http';
import { connect } from 'node:net';
import { expect, onTestFinished, test } from 'vitest';
import { BODY, keyOf, put } from './authors.js';
import { eventually, stage, type BusEnv, type Sample } from './samples.js';

/** What scripts and other services may count on. */
export function apiSuite(bus: BusEnv): void {
  test('a course that Studio took is in Catalog, with the event that brought it', async () => {
    const { studio, catalog } = await both(bus);
    const key = 'course-v1:edX+Überblick+2026';
    expect((await catalog.get(`/api/courses/${key}`)).status).toBe(404);

    const created = await put(studio, key, { ...BODY, name: 'Überblick 🎓', end: '2026-06-01T12:00:00.000001+02:00' });
    expect(created.status).toBe(201);
    expect(created.body).toMatchObject({
      course_key: key,
      ...BODY,
      name: 'Überblick 🎓',
      enrollment_end: null,
      hidden: false,
    });

    const { body } = await eventually(async () => {
      const answer = await catalog.get(`/api/courses/${key}`);
      expect(answer.status).toBe(200);
      return answer;
    });
    expect(body).toEqual({
      course_key: key,
      name: 'Überblick 🎓',
      start: BODY.start,
      end: '2026-06-01T12:00:00.000001+02:00',
      pacing: 'self',
      enrollment_start: null,
      enrollment_end: null,
      hidden: false,
      invitation_only: false,
      eventId: expect.stringMatching(/^[0-9a-f]{8}-[0-9a-f]{4}-1[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}$/),
      eventTime: created.body.updated_at,
      receivedAt: expect.any(String),
      latencyMs: expect.any(Number),
    });
    expect((await catalog.get('/api/stats')).body).toEqual({
      handled: 1,
      p50Ms: expect.any(Number),
      p99Ms: expect.any(Number),
    });

    expect(await put(studio, key, { ...BODY, invitation_only: true })).toMatchObject({ status: 200 });
    await eventually(async () => {
      expect((await catalog.get('/api/courses')).body).toMatchObject([
        { name: BODY.name, invitation_only: true, end: null },
      ]);
    });
    expect((await studio.get('/api/courses')).body).toHaveLength(1);
  });

  test('what is wrong with a course is said by field, and nothing is stored', async () => {
    const { studio } = await both(bus);
    const wrong = await put(studio, keyOf(1), { name: '', start: 'soon', pacing: 'fast', colour: 'red' });
    expect(wrong).toEqual({
      status: 400,
      body: {
        errors: [
          { field: 'colour', message: expect.any(String) },
          { field: 'start', message: expect.any(String) },
        ],
      },
    });
    for (const key of ['no-key', 'course-v1:a\0b+c+d']) {
      expect((await put(studio, key, BODY)).body.errors[0].field).toBe('course_key');
    }
    const text = await fetch(`${studio.url}/api/courses/${keyOf(1)}`, { method: 'PUT', body: '{}' });
    expect(text.status).toBe(415);
    expect((await studio.get('/api/courses')).body).toEqual([]);
    expect((await studio.get(`/api/courses/${keyOf(1)}`)).status).toBe(404);
  });

  test('a list can be searched and cut, and says how long it is', async () => {
    const { studio, catalog } = await both(bus);
    for (let n = 0; n < 5; n++) await put(studio, keyOf(n), { ...BODY, name: n === 3 ? 'Physics' : 'History' });
    await eventually(async () => expect((await catalog.get('/api/courses')).body).toHaveLength(5));
    for (const sample of [studio, catalog]) {
      const found = await sample.get('/api/courses?search=physics&limit=1');
      expect(found.body).toMatchObject([{ course_key: keyOf(3) }]);
      const cut = await sample.get('/api/courses?limit=2');
      expect(cut.body).toHaveLength(2);
      expect(cut.headers.get('x-total-count')).toBe('5');
      for (const query of [
        'limit=none',
        'limit=99999999999999999999',
        'limit=1&limit=2',
        'search=%00',
        'search=a&search=b',
      ]) {
        expect((await sample.get(`/api/courses?${query}`)).status, query).toBe(400);
      }
      expect((await sample.get(`/api/courses/${encodeURIComponent(keyOf(3))}%00b`)).status).toBe(404);
    }
  });

  test('who asks for another name than this machine has is refused', async () => {
    const { studio, catalog } = await both(bus);
    for (const sample of [studio, catalog]) {
      const { port } = new URL(sample.url);
      for (const host of [`evil.example:${port}`, 'evil.example', 'localhost.evil.example', '127.0.0.1.evil.example']) {
        expect(await statusAs(host, sample), host).toBe(403);
      }
      for (const host of [`localhost:${port}`, '127.0.0.1', `[::1]:${port}`]) {
        expect(await statusAs(host, sample), host).toBe(200);
      }
    }
  });

  test('both say that they are well, and stop when asked to', async () => {
    const { studio, catalog } = await both(bus);
    for (const sample of [studio, catalog]) {
      expect((await sample.get('/health/live')).status).toBe(200);
      expect((await sample.get('/health/ready')).body.details).toMatchObject({
        bus: { status: 'up' },
        database: { status: 'up' },
      });
      expect(await sample.stop()).toMatch(/^(0|SIGTERM)$/);
    }
  });

  test('both stop although some clients go on asking, and another never ends what it asks', async () => {
    const { studio, catalog } = await both(bus);
    const asks = [
      { sample: studio, ask: async (n: number) => (await put(studio, keyOf(n), BODY)).status },
      { sample: catalog, ask: async () => (await catalog.get('/api/courses')).status },
    ];
    for (const { sample, ask } of asks) {
      const asking = Array.from({ length: 16 }, (_, n) => askUntilNobodyAnswers(() => ask(n)));
      await Promise.all(asking.map(({ begun }) => begun));
      await beginToAsk(sample);
      expect(await sample.stop()).toMatch(/^(0|SIGTERM)$/);
      expect(new Set(await Promise.all(asking.map(({ last }) => last)))).toEqual(new Set([200]));
    }
  });
}

async function statusAs(host: string, { url }: Sample): Promise<number | undefined> {
  const [response] = (await once(get(`${url}/api/courses`, { headers: { host } }), 'response')) as [IncomingMessage];
  response.resume();
  return response.statusCode;
}

/** One question after the other, over connections that are kept; says when it has begun, and the last status. */
function askUntilNobodyAnswers(ask: () => Promise<number>): { begun: Promise<number>; last: Promise<number> } {
  const begun = ask().then(ask);
  const goOn = (last: number): Promise<number> => ask().then(goOn, () => last);
  return { begun, last: begun.then(goOn) };
}

async function beginToAsk({ url }: Sample): Promise<void> {
  const socket = connect(Number(new URL(url).port), '127.0.0.1').on('error', () => {});
  onTestFinished(() => void socket.destroy());
  await once(socket, 'connect');
  await new Promise((resolve) => {
    socket.write(
      'PUT /api/courses/a HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: 9\r\n\r\n{',
      resolve,
    );
  });
}

async function both(bus: BusEnv) {
  const on = stage(bus);
  const [studio, catalog] = await Promise.all([on.studio(), on.catalog()]);
  return { studio, catalog };
}
