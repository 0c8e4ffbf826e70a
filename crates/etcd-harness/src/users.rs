//! Users, and what they may do.

use std::sync::atomic::Ordering;

use bytes::Bytes;
use tonic::{Request, transport::Channel};

use crate::{
    Client, prefix_end,
    proto::{
        AuthenticateRequest, Nothing, Permission, RoleGrantPermissionRequest, RoleRequest,
        RoleRevokePermissionRequest, UserGrantRoleRequest, UserRequest, auth_client::AuthClient,
        permission::Type,
    },
};

/// The password of `root`.
const ROOT: &str = "of root";

impl Client {
    /// Adds `user`, who may read and write under `prefix` and nothing else, and refuses everybody
    /// without a password from now on.
    pub async fn enable_auth(&self, user: &str, password: &str, prefix: &str) {
        self.add_user("root", ROOT).await;
        self.add_user(user, password).await;
        self.permit(user, prefix).await;
        self.users().auth_enable(Nothing {}).await.unwrap();
        self.auth.store(true, Ordering::Relaxed);
    }

    /// Adds a user, who may do nothing yet.
    pub async fn add_user(&self, user: &str, password: &str) {
        let mut users = self.users();
        let request = self.request(role(user)).await;
        users.role_add(request).await.unwrap();
        let request = self.request(credentials(user, password)).await;
        users.user_add(request).await.unwrap();
        let request = UserGrantRoleRequest {
            user: user.to_owned(),
            role: user.to_owned(),
        };
        let request = self.request(request).await;
        users.user_grant_role(request).await.unwrap();
    }

    /// Lets `user` read and write under `prefix`.
    pub async fn permit(&self, user: &str, prefix: &str) {
        let request = self.request(permission(user, prefix)).await;
        self.users().role_grant_permission(request).await.unwrap();
    }

    /// Takes from `user` what [`permit`](Self::permit) gave.
    pub async fn forbid(&self, user: &str, prefix: &str) {
        let request = RoleRevokePermissionRequest {
            role: user.to_owned(),
            key: Bytes::copy_from_slice(prefix.as_bytes()),
            range_end: prefix_end(prefix),
        };
        let request = self.request(request).await;
        self.users().role_revoke_permission(request).await.unwrap();
    }

    /// Gives `user` another password.
    pub async fn change_password(&self, user: &str, password: &str) {
        let request = self.request(credentials(user, password)).await;
        self.users().user_change_password(request).await.unwrap();
    }

    /// A request of the user `root`, who may do anything, if a password is wanted.
    pub async fn request<T>(&self, message: T) -> Request<T> {
        if !self.auth.load(Ordering::Relaxed) {
            return Request::new(message);
        }
        let request = AuthenticateRequest {
            name: "root".to_owned(),
            password: ROOT.to_owned(),
        };
        let response = self.users().authenticate(request).await.unwrap();
        let token = response.into_inner().token.parse().unwrap();
        let mut request = Request::new(message);
        request.metadata_mut().insert("authorization", token);
        request
    }

    fn users(&self) -> AuthClient<Channel> {
        AuthClient::new(self.channel.clone())
    }
}

fn role(name: &str) -> RoleRequest {
    RoleRequest {
        name: name.to_owned(),
    }
}

fn credentials(name: &str, password: &str) -> UserRequest {
    UserRequest {
        name: name.to_owned(),
        password: password.to_owned(),
    }
}

fn permission(role: &str, prefix: &str) -> RoleGrantPermissionRequest {
    let permission = Permission {
        perm_type: Type::Readwrite.into(),
        key: Bytes::copy_from_slice(prefix.as_bytes()),
        range_end: prefix_end(prefix),
    };
    RoleGrantPermissionRequest {
        name: role.to_owned(),
        perm: Some(permission),
    }
}
