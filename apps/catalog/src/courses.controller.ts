import { Controller, Get, NotFoundException, Param, Query, Res } from '@nestjs/common';
import type { ServerResponse } from 'node:http';
import { ChangeFeed } from './change-feed.js';
import type { CourseEntry } from './course-entry.js';
import { EntryStore } from './entry-store.js';
import { Latencies } from './latencies.js';
import { readListQuery } from './list-query.js';

@Controller('api')
export class CoursesController {
  constructor(
    private readonly entries: EntryStore,
    private readonly latencies: Latencies,
    private readonly feed: ChangeFeed,
  ) {}

  @Get('courses')
  async list(
    @Query() query: Record<string, unknown>,
    @Res({ passthrough: true }) response: ServerResponse,
  ): Promise<CourseEntry[]> {
    const { search, limit } = readListQuery(query);
    const entries = await this.entries.list({ search, limit });
    response.setHeader('x-total-count', limit === undefined ? entries.length : await this.entries.count(search));
    return entries;
  }

  @Get('courses/:key')
  async find(@Param('key') key: string): Promise<CourseEntry> {
    const entry = await this.entries.find(key);
    if (!entry) throw new NotFoundException(`There is no course ${key}, or not yet.`);
    return entry;
  }

  /** Of this process. */
  @Get('stats')
  stats() {
    return this.latencies.summary();
  }

  @Get('changes')
  changes(@Res() response: ServerResponse): void {
    response.writeHead(200, { 'content-type': 'text/event-stream', 'x-accel-buffering': 'no' });
    this.feed.open(response);
  }
}
