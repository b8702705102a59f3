/** Something this machine does not have. The message says what it is and how to install it. */
export class MissingError extends Error {}

/**
 * @typedef {{ missing: string }} Missing What this machine lacks and how to install it, in one sentence.
 */

/**
 * Runs `start`, and turns a MissingError into a value, so that a test can print it and be skipped.
 * With CI=true nothing may be missing: the error stays an error.
 *
 * @template {object} T
 * @param {() => Promise<T>} start
 * @returns {Promise<(T & { missing?: undefined }) | Missing>}
 */
export async function orMissing(start) {
  try {
    return /** @type {T & { missing?: undefined }} */ (await start());
  } catch (error) {
    if (!(error instanceof MissingError) || process.env.CI === 'true') throw error;
    return { missing: error.message };
  }
}
