import { parseArgs } from 'node:util';

/** A mistake of whoever called a command: told in one line, exit code 2. */
export class UsageError extends Error {}

/**
 * Runs a command: reads its arguments as `parseArgs` does, with `--help` known everywhere, and says in one line why it failed. Only what
 * nobody foresaw gets a stack.
 *
 * @template {import('node:util').ParseArgsConfig} T
 * @param {string} help what `--help` prints
 * @param {T} config
 * @param {(args: ReturnType<typeof parseArgs<T>>) => unknown} run
 */
export async function runCommand(help, config, run) {
  try {
    const args = parse(config);
    if (args === undefined) console.log(help);
    else await run(args);
  } catch (error) {
    const { name, message, stack } = /** @type {Error} */ (error);
    const isUsage = error instanceof UsageError;
    console.error(isUsage ? `${message} See --help.` : name === 'Error' ? message : stack);
    process.exitCode = isUsage ? 2 : 1;
  }
}

/**
 * @template {import('node:util').ParseArgsConfig} T
 * @param {T} config
 * @returns {ReturnType<typeof parseArgs<T>> | undefined} nothing when help was asked for
 */
function parse(config) {
  try {
    const options = { ...config.options, help: { type: /** @type {const} */ ('boolean'), default: false } };
    const args = /** @type {any} */ (parseArgs({ ...config, options }));
    const { help, ...values } = args.values;
    return help ? undefined : { ...args, values };
  } catch (error) {
    const [first] = /** @type {Error} */ (error).message.split('. ');
    throw new UsageError(`${first}.`);
  }
}
