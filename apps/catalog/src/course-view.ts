import { Injectable } from '@nestjs/common';
import { Ctx, Payload } from '@nestjs/microservices';
import { EventBusContext, OnEventBus } from '@event-bus/nest';
import { COURSE_CATALOG_INFO_CHANGED, type CourseCatalogInfoChanged } from '@event-bus/openedx';
import { ChangeFeed } from './change-feed.js';
import { age, toEntry } from './course-entry.js';
import { EntryStore } from './entry-store.js';
import { Latencies } from './latencies.js';
import { untilTheDatabaseIsBack } from './patience.js';

/** Keeps the catalogue in step with what authors change. */
@Injectable()
export class CourseView {
  constructor(
    private readonly entries: EntryStore,
    private readonly latencies: Latencies,
    private readonly feed: ChangeFeed,
  ) {}

  /** The same event again, or an older one after a newer, changes nothing. */
  @OnEventBus(COURSE_CATALOG_INFO_CHANGED, {
    topic: 'course-catalog-info-changed',
    group: 'catalog',
    id: 'CourseView.changed',
    retry: untilTheDatabaseIsBack,
  })
  async changed(@Payload() data: CourseCatalogInfoChanged, @Ctx() { event }: EventBusContext): Promise<void> {
    const entry = toEntry(data.catalog_info, event, Date.now());
    const isNews = await this.entries.put(entry);
    this.latencies.add(isNews ? age(entry.eventTime, Date.now()) : undefined);
    if (isNews) this.feed.tell(entry);
  }
}
