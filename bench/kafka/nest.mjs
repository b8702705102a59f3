/** Nest's own Kafka transport with its defaults: ClientKafka emits, an @EventPattern handler of ServerKafka receives. Avro by hand. */
import 'reflect-metadata';
import { Controller, Module } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { ClientKafka, EventPattern, Payload, Ctx, Transport } from '@nestjs/microservices';
import { lastValueFrom } from 'rxjs';
import { ageOf, byHand, dataOf } from './event.mjs';
import { consuming, idling, pacing, publishing, runTask, sleep } from './task.mjs';

process.env.KAFKAJS_NO_PARTITIONER_WARNING = '1';
const client = { brokers: process.env.KAFKA_BROKERS.split(',') };
const { encode, decode } = await byHand();

await runTask({
  async publish({ topic, ...load }) {
    const emitter = await emitting();
    const answer = await publishing(load, (n) => lastValueFrom(emitter.emit(topic, encode(dataOf(n)))));
    await emitter.close();
    return answer;
  },

  async consume({ topic, group, ...load }) {
    const { handled, done } = consuming(load);
    const app = await serving(topic, group, handled);
    const answer = await done;
    await app.close();
    return answer;
  },

  async latency({ topic, group, ...load }) {
    const { age, run } = pacing(load);
    const emitter = await emitting();
    const app = await serving(topic, group, (data) => age(ageOf(data)), false);
    await sleep(5_000); // until it has fetched; Nest does not say when
    const answer = await run((n) => lastValueFrom(emitter.emit(topic, encode(dataOf(n)))));
    await Promise.all([emitter.close(), app.close()]);
    return answer;
  },

  async slow({ topic, group, handlerMs, ...load }) {
    const { handled, done } = consuming(load);
    const app = await serving(topic, group, () => sleep(handlerMs).then(handled));
    const answer = await done;
    await app.close();
    return answer;
  },

  async idle({ topic, group, seconds }) {
    const app = await serving(topic, group, () => {}, false);
    await sleep(2_000);
    const answer = await idling({ seconds });
    await app.close();
    return answer;
  },
});

async function emitting() {
  const emitter = new ClientKafka({ client, producerOnlyMode: true });
  await emitter.connect();
  return emitter;
}

async function serving(topic, groupId, handle, fromBeginning = true) {
  class Handlers {
    changed(value, context) {
      return handle(decode(value, context.getMessage().headers));
    }
  }
  // What a TypeScript source writes as decorators.
  EventPattern(topic)(Handlers.prototype, 'changed', Object.getOwnPropertyDescriptor(Handlers.prototype, 'changed'));
  Payload()(Handlers.prototype, 'changed', 0);
  Ctx()(Handlers.prototype, 'changed', 1);
  Controller()(Handlers);
  class App {}
  Module({ controllers: [Handlers] })(App);
  const app = await NestFactory.createMicroservice(App, {
    logger: ['error'],
    transport: Transport.KAFKA,
    options: { client, consumer: { groupId }, subscribe: { fromBeginning } },
  });
  await app.listen();
  return app;
}
