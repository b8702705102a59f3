import {
  BadRequestException,
  Body,
  Controller,
  Get,
  Headers,
  HttpException,
  Logger,
  NotFoundException,
  Param,
  Put,
  Query,
  Res,
} from '@nestjs/common';
import { isBusError } from '@event-bus/core';
import type { ServerResponse } from 'node:http';
import { CourseAuthoring, NotAnnounced } from './course-authoring.js';
import { CourseStore } from './course-store.js';
import { readDraft, type Course } from './course.js';
import { readListQuery } from './list-query.js';

@Controller('api/courses')
export class CoursesController {
  readonly #log = new Logger(CoursesController.name);

  constructor(
    private readonly authoring: CourseAuthoring,
    private readonly store: CourseStore,
  ) {}

  /** 201 for a new course, 200 for a changed one; after both, the event is safe on the bus. */
  @Put(':key')
  async put(
    @Param('key') key: string,
    @Headers('content-type') contentType: string | undefined,
    @Body() body: unknown,
    @Res({ passthrough: true }) response: ServerResponse,
  ): Promise<Course> {
    // A form of another site can send text without being asked for permission first, but not JSON.
    if (!contentType?.startsWith('application/json')) throw new HttpException(NOT_JSON, 415);
    const read = readDraft(key, body);
    if ('errors' in read) throw new BadRequestException({ errors: read.errors });
    try {
      const { course, isNew } = await this.authoring.save(read.draft);
      response.statusCode = isNew ? 201 : 200;
      return course;
    } catch (error) {
      throw error instanceof NotAnnounced ? this.#unavailable(error) : error;
    }
  }

  @Get()
  async list(
    @Query() query: Record<string, unknown>,
    @Res({ passthrough: true }) response: ServerResponse,
  ): Promise<Course[]> {
    const { search, limit } = readListQuery(query);
    const courses = await this.store.list({ search, limit });
    response.setHeader('x-total-count', limit === undefined ? courses.length : await this.store.count(search));
    return courses;
  }

  @Get(':key')
  async find(@Param('key') key: string): Promise<Course> {
    const course = await this.store.find(key);
    if (!course) throw new NotFoundException(`There is no course ${key}.`);
    return course;
  }

  #unavailable({ course, message, cause }: NotAnnounced): HttpException {
    const code = isBusError(cause) ? cause.code : 'BUS_TRANSPORT_UNAVAILABLE';
    this.#log.warn('a course was stored and not announced', { code, reason: String(cause) });
    return new HttpException({ code, message, stored: true, announced: false, course }, 503);
  }
}

const NOT_JSON = { errors: [{ field: 'content-type', message: 'must be application/json' }] };
