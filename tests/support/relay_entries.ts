/** What a relay has, by the word of its admin API. */
import { equal } from "node:assert/strict";

/** All of its entries: `KIND/NAME`, sorted. */
export async function entriesAt(adminUrl: string, token: string): Promise<readonly string[]> {
  const entries: string[] = [];
  for (const kind of ["clusters", "services", "policies"]) {
    const headers = { authorization: `Bearer ${token}` };
    const response = await fetch(`${adminUrl}/admin/v1/${kind}`, { headers });
    equal(response.status, 200);
    const { items } = await response.json() as { items: { id?: string; name?: string }[] };
    entries.push(...items.map(({ id, name }) => `${kind}/${id ?? name}`));
  }
  return entries.sort();
}
