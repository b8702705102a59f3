/**
 * Runs a handler as Nest runs a request: guards, interceptors, pipes and filters of the method, its class and the application, in a context of type
 * `rpc`. First the pipeline, which shows the raw error; then the exception filters, which say what they make of it.
 */
import { ContextIdFactory, type ExternalContextCreator, type ModuleRef } from '@nestjs/core';
import { isBusError } from '@event-bus/core';
import { isObservable } from 'rxjs';
import type { EventBusContext } from './event-bus-context.js';
import { moduleRefOf, pipeline, runFilters, type ErrorProxy, type InstanceWrapper } from './nest-internals.js';

/**
 * How one attempt ended. A filter that answers with a value says handled; one that answers nothing has only observed; one that throws replaces the
 * error. `original` is what guard, pipe, interceptor or handler threw, whatever filters made of it.
 */
export type Outcome =
  | { readonly ok: true; readonly by?: 'filter' }
  | { readonly ok: false; readonly error: unknown; readonly original: unknown };

export type Invoke = (data: unknown, context: EventBusContext) => Promise<Outcome>;

/** What calls one method of one host. `eventType` is what a scope strategy sees as the pattern. */
export function invoker(
  external: ExternalContextCreator,
  moduleRef: ModuleRef,
  wrapper: InstanceWrapper,
  method: string,
  eventType: string,
): Invoke {
  const createProxy = twoPhases(external);
  const isScoped = !wrapper.isDependencyTreeStatic() || wrapper.isTransient;
  if (!isScoped) return pipeline(external, wrapper, wrapper.instance as object, method, createProxy) as Invoke;
  const owner = moduleRefOf(wrapper);
  return async (data, context) => {
    try {
      const request = requestOf(eventType, data, context);
      const id = ContextIdFactory.getByRequest(request) as ReturnType<typeof ContextIdFactory.create> & {
        payload?: object;
      };
      moduleRef.registerRequestByContextId(
        wrapper.isDependencyTreeDurable() ? id.payload : Object.assign(request, id.payload),
        id,
      );
      const instance = await owner.resolve<object>(wrapper.token as string, id, { strict: true });
      return (await pipeline(external, wrapper, instance, method, createProxy, id)(data, context)) as Outcome;
    } catch (error) {
      // A constructor that throws is a failed attempt like any other.
      return { ok: false, error, original: error };
    }
  };
}

/**
 * Awaits what a handler or a callback of Nest's answers: a value, a promise, an observable or a promise of one. An empty
 * observable is an answer; the delivery's signal ends the subscription.
 */
export async function settled(result: unknown, context: EventBusContext): Promise<unknown> {
  const value = await result;
  if (!isObservable(value)) return value;
  // Only now: asking for the signal makes it.
  const { signal } = context;
  return new Promise((resolve, reject) => {
    let last: unknown;
    const subscription = value.subscribe({
      next: (next) => void (last = next),
      error: reject,
      complete: () => resolve(last),
    });
    const abort = () => {
      subscription.unsubscribe();
      reject(signal.reason);
    };
    if (subscription.closed) return;
    if (signal.aborted) return abort();
    signal.addEventListener('abort', abort, { once: true });
    subscription.add(() => signal.removeEventListener('abort', abort));
  });
}

function twoPhases(external: ExternalContextCreator): ErrorProxy {
  return (target, filters, type) =>
    async (...args): Promise<Outcome> => {
      const context = args[1] as EventBusContext;
      try {
        await settled(target(...args), context);
        return { ok: true };
      } catch (original) {
        // Not a failure: the event comes again, and nobody is to be told.
        if (isBusError(context.signal.reason, 'BUS_INTERRUPTED')) return { ok: false, error: original, original };
        try {
          const verdict = await settled(runFilters(external, filters, original, type, args), context);
          return verdict === undefined || verdict === null
            ? { ok: false, error: original, original }
            : { ok: true, by: 'filter' };
        } catch (error) {
          return { ok: false, error, original };
        }
      }
    };
}

// The shape of a REQUEST in Nest's own RPC stack.
function requestOf(pattern: string, data: unknown, context: EventBusContext) {
  return { pattern, data, context, getPattern: () => pattern, getData: () => data, getContext: () => context };
}
