import { nameFromGit, nameProblem } from '../core/name';
import type { Store } from '../core/state';
import { createWorkspace, ProblemError } from '../link/rest';
import { byId, setText } from './dom';

/** The form that makes a workspace. */
export class Create {
  private readonly dialog = byId<HTMLDialogElement>('create');
  private readonly form = byId<HTMLFormElement>('create-form');
  private readonly name = byId<HTMLInputElement>('create-name');
  private readonly git = byId<HTMLInputElement>('create-git');
  private readonly problem = byId<HTMLElement>('create-problem');
  private readonly submit = byId<HTMLButtonElement>('create-submit');
  private key = '';

  constructor(private readonly store: Store) {
    for (const b of document.querySelectorAll('[data-create]')) b.addEventListener('click', () => this.open());
    byId('create-cancel').addEventListener('click', () => this.dialog.close());
    this.name.addEventListener('input', () => this.check(false));
    this.git.addEventListener('change', () => {
      if (this.name.value === '') this.name.value = nameFromGit(this.git.value);
    });
    this.form.addEventListener('submit', (e) => {
      e.preventDefault();
      void this.send();
    });
  }

  open(): void {
    this.key = randomKey();
    this.form.reset();
    setText(this.problem, '');
    this.dialog.showModal();
    this.name.focus();
  }

  /** Reports whether the name will do; while the user types, an empty one is no mistake yet. */
  private check(complete: boolean): boolean {
    const name = this.name.value.trim();
    const problem = name === '' && !complete ? undefined : nameProblem(name);
    this.name.setAttribute('aria-invalid', String(problem !== undefined));
    setText(this.problem, problem ?? '');
    return problem === undefined;
  }

  private async send(): Promise<void> {
    if (!this.check(true)) {
      this.name.focus();
      return;
    }
    this.submit.disabled = true;
    const git = this.git.value.trim();
    try {
      const w = await createWorkspace({ name: this.name.value.trim(), ...(git ? { git } : {}) }, this.key);
      this.store.dispatch({ type: 'changed', workspace: w });
      this.dialog.close();
      location.hash = w.name;
    } catch (e) {
      this.key = randomKey();
      setText(this.problem, (e as Error).message);
      if (e instanceof ProblemError && e.field === 'git') this.git.focus();
      else this.name.focus();
    } finally {
      this.submit.disabled = false;
    }
  }
}

/** crypto.randomUUID exists on https and localhost only. */
function randomKey(): string {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (b) => b.toString(16).padStart(2, '0')).join('');
}
