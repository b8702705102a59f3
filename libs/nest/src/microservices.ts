/** For applications that have @EventPattern controllers already: a strategy and a client of @nestjs/microservices on the event bus. */
export { EventBusStrategy } from './microservices/event-bus-strategy.js';
export { EventBusClient } from './microservices/event-bus-client.js';
