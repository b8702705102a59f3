/**
 * Who should own which partition of a topic. Every member computes this from the same table inside a write transaction, so all agree
 * without talking. Shares differ by at most one partition, and nobody gives away more than that needs.
 */

/** The member each partition is for. `owners`: who holds it now, `undefined` when nobody alive does. `members` are sorted and alive. */
export function sharePartitions(
  owners: readonly (string | undefined)[],
  members: readonly string[],
  topic: number,
): readonly (string | undefined)[] {
  if (members.length === 0) return owners.map(() => undefined);
  const held = new Map(members.map((member) => [member, 0]));
  for (const owner of owners) if (owner !== undefined && held.has(owner)) held.set(owner, held.get(owner)! + 1);
  const room = roomOf(owners.length, members, held, topic);
  const wanted = owners.map((owner) => (owner !== undefined && takes(room, owner) ? owner : undefined));
  const takers = members.filter((member) => room.get(member)! > 0);
  return wanted.map((owner) => {
    if (owner !== undefined) return owner;
    while (!takes(room, takers[0]!)) takers.shift();
    return takers[0]!;
  });
}

// Those who hold most keep the odd partitions; among equals the topic decides who is first, so that many small topics spread.
function roomOf(
  partitions: number,
  members: readonly string[],
  held: ReadonlyMap<string, number>,
  topic: number,
): Map<string, number> {
  const least = Math.floor(partitions / members.length);
  const odd = partitions % members.length;
  const turn = (member: string) => (members.indexOf(member) + topic) % members.length;
  const order = [...members].sort((a, b) => held.get(b)! - held.get(a)! || turn(a) - turn(b));
  return new Map(members.map((member) => [member, order.indexOf(member) < odd ? least + 1 : least]));
}

function takes(room: Map<string, number>, member: string): boolean {
  const left = room.get(member) ?? 0;
  if (left > 0) room.set(member, left - 1);
  return left > 0;
}
