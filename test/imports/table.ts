/** Who may import whom: the table of ARCHITECTURE.md. Arrows point to core; nobody knows two transports; nobody reaches past a door. */
export const MAY_IMPORT: Readonly<Record<string, readonly string[]>> = {
  core: [],
  avro: ['@event-bus/core', 'avsc'],
  embedded: ['@event-bus/core', '@event-bus/avro', 'lmdb'],
  kafka: ['@event-bus/core', '@event-bus/avro', 'kafkajs'],
  openedx: ['@event-bus/core'],
  testing: ['@event-bus/core'],
  nest: ['@event-bus/core', '@nestjs/common', '@nestjs/core', '@nestjs/microservices', 'reflect-metadata', 'rxjs'],
};

/** A door of its own may need what the main door does not: optional peers. */
export const AT_DOOR: Readonly<Record<string, readonly string[]>> = {
  'libs/nest/src/terminus.ts': ['@nestjs/terminus'],
  'libs/nest/src/testing.ts': ['@nestjs/testing', '@event-bus/testing'],
  'libs/nest/src/microservices.ts': ['@nestjs/microservices'],
};
