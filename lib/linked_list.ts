/** A list whose members come and go with every request. */

/** What a member of a {@link LinkedList} carries; it can be in one list at a time. */
export abstract class Linked<T> {
  previous: T | undefined;
  next: T | undefined;
  isListed = false;
}

/**
 * Members in the order in which they came.
 *
 * A `Set` would do, but for V8's collector. It makes a new table after every few dozen additions and
 * removals, and each old one points to the next: once one of them is old, all that follow stay until
 * the next full collection, each with the members that it had when it was replaced. With members
 * that lead to whole requests that was a third of them. Here a member that has left leads nowhere.
 */
export class LinkedList<T extends Linked<T>> {
  #first: T | undefined;
  #last: T | undefined;
  #size = 0;

  /** The member that has been here longest. */
  get first(): T | undefined {
    return this.#first;
  }

  /** How many members there are. */
  get size(): number {
    return this.#size;
  }

  /** Adds a member, which is in no list, at the end. */
  add(member: T): void {
    member.isListed = true;
    member.previous = this.#last;
    if (this.#last) this.#last.next = member;
    else this.#first = member;
    this.#last = member;
    this.#size++;
  }

  /** Removes a member; one that has left already may be given. */
  remove(member: T): void {
    if (!member.isListed) return;
    member.isListed = false;
    const { previous, next } = member;
    if (previous) previous.next = next;
    else this.#first = next;
    if (next) next.previous = previous;
    else this.#last = previous;
    member.previous = member.next = undefined;
    this.#size--;
  }

  /** The members as they are now: they may come and go while somebody walks through these. */
  toArray(): T[] {
    const members: T[] = [];
    for (let member = this.#first; member; member = member.next) members.push(member);
    return members;
  }
}
