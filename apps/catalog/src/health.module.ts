import { Controller, Get, Module } from '@nestjs/common';
import { HealthCheck, HealthCheckService, HealthIndicatorService, TerminusModule } from '@nestjs/terminus';
import { EventBusHealthIndicator } from '@event-bus/nest/terminus';
import { CoursesModule } from './courses.module.js';
import { EntryStore } from './entry-store.js';

@Controller('health')
export class HealthController {
  constructor(
    private readonly health: HealthCheckService,
    private readonly indicator: HealthIndicatorService,
    private readonly bus: EventBusHealthIndicator,
    private readonly store: EntryStore,
  ) {}

  /** Down when only a restart helps. */
  @Get('live')
  @HealthCheck()
  live() {
    return this.health.check([() => this.bus.live('bus')]);
  }

  /** Down while this process cannot do its work. */
  @Get('ready')
  @HealthCheck()
  ready() {
    return this.health.check([
      () => this.bus.ready('bus'),
      () =>
        this.indicator
          .check('database')
          .attempt(() => this.store.ping())
          .withTimeout(2_000),
    ]);
  }
}

@Module({
  // The bus logs what changes; an answer tells the state. A log line for each poll of a service that is not well says nothing more.
  imports: [TerminusModule.forRoot({ logger: false }), CoursesModule],
  controllers: [HealthController],
  providers: [EventBusHealthIndicator],
})
export class HealthModule {}
