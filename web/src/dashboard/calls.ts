import type { components } from '../api/schema';
import { call } from '../link/rest';

type Schemas = components['schemas'];
export type Me = Schemas['Me'];
export type User = Schemas['User'];
export type Member = Schemas['Member'];
export type Invitation = Schemas['Invitation'];
export type Session = Schemas['Session'];
export type Token = Schemas['Token'];
export type Checkpoint = Schemas['Checkpoint'];
export type AuditEntry = Schemas['AuditEntry'];

/** Questions and orders of the dashboard that the other pages do not need. */
const root = '/api/v1';
const part = encodeURIComponent;

export const me = (): Promise<Me> => call('GET', `${root}/me`);

export const images = async (): Promise<Schemas['Image'][]> =>
  (await call<Schemas['ImageList']>('GET', `${root}/images`)).items ?? [];

export const members = async (workspace: string): Promise<Member[]> =>
  (await call<Schemas['MemberList']>('GET', `${root}/workspaces/${part(workspace)}/members`)).items ?? [];

export const share = async (workspace: string, user: string, role: string): Promise<Member[]> =>
  (await call<Schemas['MemberList']>('PUT', `${root}/workspaces/${part(workspace)}/members/${part(user)}`, { role }))
    .items ?? [];

export const unshare = (workspace: string, user: string): Promise<void> =>
  call('DELETE', `${root}/workspaces/${part(workspace)}/members/${part(user)}`);

export const shareLink = (workspace: string, role: string, seconds: number): Promise<Schemas['NewInvitation']> =>
  call('POST', `${root}/workspaces/${part(workspace)}/links`, { role, expires_in_seconds: seconds });

export const shareLinks = async (workspace: string): Promise<Invitation[]> =>
  (await call<Schemas['InvitationList']>('GET', `${root}/workspaces/${part(workspace)}/links`)).items ?? [];

export const revokeShareLink = (workspace: string, id: string): Promise<void> =>
  call('DELETE', `${root}/workspaces/${part(workspace)}/links/${part(id)}`);

export const checkpoints = async (workspace: string): Promise<Checkpoint[]> =>
  (await call<Schemas['CheckpointList']>('GET', `${root}/workspaces/${part(workspace)}/checkpoints`)).items ?? [];

export const checkpoint = (workspace: string, label: string): Promise<Checkpoint> =>
  call('POST', `${root}/workspaces/${part(workspace)}/checkpoints`, label ? { label } : {});

export const removeCheckpoint = (workspace: string, label: string): Promise<void> =>
  call('DELETE', `${root}/workspaces/${part(workspace)}/checkpoints/${part(label)}`);

export const rollback = (workspace: string, label: string): Promise<Schemas['Workspace']> =>
  call('POST', `${root}/workspaces/${part(workspace)}/rollback`, { label });

export const users = async (): Promise<User[]> =>
  (await call<Schemas['UserList']>('GET', `${root}/users`)).items ?? [];

export const updateUser = (user: string, change: Schemas['UpdateUser']): Promise<User> =>
  call('PATCH', `${root}/users/${part(user)}`, change);

export const removeUser = (user: string): Promise<void> => call('DELETE', `${root}/users/${part(user)}`);

export const resetPassword = (user: string): Promise<Schemas['ResetLink']> =>
  call('POST', `${root}/users/${part(user)}/reset`);

export const invitations = async (): Promise<Invitation[]> =>
  (await call<Schemas['InvitationList']>('GET', `${root}/invitations`)).items ?? [];

export const invite = (note: string, role: string): Promise<Schemas['NewInvitation']> =>
  call('POST', `${root}/invitations`, { note, role });

export const revokeInvitation = (id: string): Promise<void> => call('DELETE', `${root}/invitations/${part(id)}`);

export const sessions = async (): Promise<Session[]> =>
  (await call<Schemas['SessionList']>('GET', `${root}/sessions`)).items ?? [];

export const endSession = (id: string): Promise<void> => call('DELETE', `${root}/sessions/${part(id)}`);
export const endOtherSessions = (): Promise<void> => call('DELETE', `${root}/sessions`);

export const setPassword = (current: string, fresh: string): Promise<void> =>
  call('PUT', `${root}/me/password`, { current, new: fresh });

export const tokens = async (): Promise<Token[]> =>
  (await call<Schemas['TokenList']>('GET', `${root}/tokens`)).items ?? [];

export const createToken = (req: Schemas['CreateToken']): Promise<Schemas['NewToken']> =>
  call('POST', `${root}/tokens`, req);

export const revokeToken = (id: string): Promise<void> => call('DELETE', `${root}/tokens/${part(id)}`);

export const audit = (query: Record<string, string>): Promise<Schemas['AuditLog']> =>
  call('GET', `${root}/audit?${new URLSearchParams(query)}`);
