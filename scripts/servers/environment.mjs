/**
 * A server that the environment names: it is somebody else's, so it is neither stopped nor killed.
 *
 * @template {string} Name
 * @param {Name} name
 */
export function fromEnvironment(name) {
  const value = process.env[name];
  if (!value) return undefined;
  const refuse = async () => {
    throw new Error(`The server of ${name} was not started here and is left alone. Unset ${name} to have one of ours.`);
  };
  return {
    source: /** @type {const} */ ('environment'),
    env: /** @type {Record<Name, string>} */ ({ [name]: value }),
    logs: undefined,
    pid: () => undefined,
    stop: async () => {},
    kill: refuse,
    restart: refuse,
    pause: refuse,
    resume: refuse,
  };
}
