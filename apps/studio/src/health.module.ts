import { Controller, Get, Module } from '@nestjs/common';
import { HealthCheckService, HealthIndicatorService, TerminusModule } from '@nestjs/terminus';
import { CoursesModule } from './courses.module.js';
import { CourseStore } from './course-store.js';

@Controller('health')
export class HealthController {
  constructor(
    private readonly health: HealthCheckService,
    private readonly indicator: HealthIndicatorService,
    private readonly store: CourseStore,
  ) {}

  /** Whether this process should be replaced. */
  @Get('live')
  live() {
    return this.health.check([]);
  }

  /** Whether this process can do its work now. */
  @Get('ready')
  ready() {
    return this.health.check([() => this.indicator.check('database').attempt(() => this.store.ping())]);
  }
}

@Module({ imports: [TerminusModule, CoursesModule], controllers: [HealthController] })
export class HealthModule {}
