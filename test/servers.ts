/**
 * One Kafka and one schema registry for all files of the project `kafka`, in the environment, where every start script looks first. Files
 * that kill, pause or cut off a broker start their own. What this machine lacks, each file says for itself.
 */
import { startRegistry, startServers } from './kafka/broker.js';

export default async function setup(): Promise<() => Promise<void>> {
  const servers = await Promise.all([startServers(), startRegistry()]);
  for (const server of servers) Object.assign(process.env, server?.env);
  return async () => {
    await Promise.all(servers.map(async (server) => server?.stop()));
  };
}
