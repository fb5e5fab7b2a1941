import assert from "node:assert/strict";
import { Linked, LinkedList } from "../lib/linked_list.ts";

class Member extends Linked<Member> {
  readonly name: string;

  constructor(name: string) {
    super();
    this.name = name;
  }
}

function listOf(names: string): { list: LinkedList<Member>; members: Record<string, Member> } {
  const list = new LinkedList<Member>();
  const members: Record<string, Member> = {};
  for (const name of names) list.add(members[name] = new Member(name));
  return { list, members };
}

function namesIn(list: LinkedList<Member>): string {
  return list.toArray().map(({ name }) => name).join("");
}

Deno.test("LinkedList keeps its members in the order in which they came", () => {
  const { list } = listOf("abc");
  assert.equal(namesIn(list), "abc");
  assert.equal(list.first?.name, "a");
  assert.equal(list.size, 3);
});

for (const [left, rest] of [["a", "bc"], ["b", "ac"], ["c", "ab"], ["ac", "b"], ["abc", ""]]) {
  Deno.test(`LinkedList is whole after ${left} of abc has left, and takes more`, () => {
    const { list, members } = listOf("abc");
    for (const name of left!) list.remove(members[name]!);
    assert.equal(namesIn(list), rest);
    assert.equal(list.size, rest!.length);
    list.add(new Member("d"));
    assert.equal(namesIn(list), `${rest}d`);
    assert.equal(list.first?.name, rest![0] ?? "d");
  });
}

Deno.test("LinkedList removes a member once, which leads nowhere then and may come again", () => {
  const { list, members } = listOf("abc");
  list.remove(members.b!);
  list.remove(members.b!);
  assert.equal(list.size, 2);
  assert.deepEqual([members.b!.previous, members.b!.next], [undefined, undefined]);
  list.add(members.b!);
  assert.equal(namesIn(list), "acb");
});
